//! Entry by entry against the reference compiler's own output.
//!
//! Labels, value sets and shapes are compared exactly, weights at 1e-6 (relative above 1). The reference ran
//! in f32, so outputs, residuals and attention logits are compared twice: a forward pass of our weights in f32
//! at 1e-6, and the crate's own f64 pass at 3e-5, which allows for the reference's rounding: the rounding MLPs
//! multiply it by their slope of 100. No permutation is needed: every axis is in the reference's order.

use std::path::PathBuf;

use ablate_rasp::{Compiled, Encoding, Matrix, OutputEncoding, Source, Trace, Value, cases};
use serde_json::Value as Json;

const CASES: [&str; 17] =
    ["2", "3", "4", "5", "7", "9", "11", "13", "14", "15", "17", "18", "19", "21", "24", "25", "38"];
/// Copies of these lie beside the tests; the others are read from the shared folder where there is one.
const KEPT: [&str; 6] = ["3", "4", "7", "11", "13", "19"];

fn read(id: &str) -> Option<Json> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let kept = root.join(format!("tests/golden/case_{id}.json"));
    let shared = root.join(format!("../../../shared/golden/ground/tracr/case_{id}.json"));
    let path = if KEPT.contains(&id) { kept } else { shared };
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(_) if !KEPT.contains(&id) => {
            eprintln!("SKIPPED golden case {id}: its file is not here");
            None
        }
        Err(e) => panic!("{}: {e}", path.display()),
    }
}

/// `["i", 3]` and its kin.
fn value(json: &Json) -> Option<Value> {
    let inner = &json[1];
    match json[0].as_str().unwrap() {
        "i" => Some(Value::Int(inner.as_i64().unwrap())),
        "f" => Some(Value::Float(inner.as_f64().unwrap())),
        "s" => Some(Value::from(inner.as_str().unwrap())),
        "b" => Some(Value::Bool(inner.as_bool().unwrap())),
        "t" => Some(Value::Tuple(inner.as_array().unwrap().iter().filter_map(value).collect())),
        "n" => None,
        other => panic!("unknown tag {other}"),
    }
}

fn values(json: &Json) -> Vec<Value> {
    json.as_array().unwrap().iter().filter_map(value).collect()
}

fn floats(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// A sparse parameter, row major.
fn dense(json: &Json) -> (Vec<usize>, Vec<f64>) {
    let shape: Vec<usize> =
        json["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let mut data = vec![0.0; shape.iter().product()];
    for (i, x) in json["idx"].as_array().unwrap().iter().zip(floats(&json["val"])) {
        data[i.as_u64().unwrap() as usize] = x;
    }
    (shape, data)
}

/// The heads side by side (`by_row` false) or one below the other.
fn join_heads(matrices: &[&Matrix], by_row: bool) -> (Vec<usize>, Vec<f64>) {
    let (rows, cols) = (matrices[0].rows.len(), matrices[0].cols.len());
    if by_row {
        let data = matrices.iter().flat_map(|m| m.data.iter().copied()).collect();
        return (vec![rows * matrices.len(), cols], data);
    }
    let mut data = vec![];
    for row in 0..rows {
        for m in matrices {
            data.extend_from_slice(&m.data[row * cols..(row + 1) * cols]);
        }
    }
    (vec![rows, cols * matrices.len()], data)
}

fn single(m: &Matrix) -> (Vec<usize>, Vec<f64>) {
    (vec![m.rows.len(), m.cols.len()], m.data.clone())
}

/// The parameter of this name, as the reference names and lays it out; none for biases, which are all zero.
fn parameter(model: &Compiled, name: &str) -> Option<(Vec<usize>, Vec<f64>)> {
    match name {
        "pos_embed/embeddings" => return Some(single(&model.position_embedding)),
        "token_embed/embeddings" => return Some(single(&model.token_embedding)),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("transformer/layer_").unwrap().split_once('/').unwrap();
    let layer = &model.layers[layer.parse::<usize>().unwrap()];
    let heads = |f: fn(&ablate_rasp::Head) -> &Matrix, by_row| {
        Some(join_heads(&layer.heads.iter().map(f).collect::<Vec<_>>(), by_row))
    };
    match part {
        "attn/query/w" => heads(|h| &h.w_q, false),
        "attn/key/w" => heads(|h| &h.w_k, false),
        "attn/value/w" => heads(|h| &h.w_v, false),
        "attn/linear/w" => heads(|h| &h.w_o, true),
        "mlp/linear_1/w" => Some(single(&layer.w_in)),
        "mlp/linear_2/w" => Some(single(&layer.w_out)),
        bias => {
            assert!(bias.ends_with("/b"), "{bias}");
            None
        }
    }
}

fn largest_difference(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let hidden = |x: f64| x < -1e29;
    let differences = ours.iter().zip(theirs).map(|(a, b)| match (hidden(*a), hidden(*b)) {
        (true, true) => 0.0,
        _ => (a - b).abs() / b.abs().max(1.0),
    });
    differences.fold(0.0, f64::max)
}

/// The forward pass in f32, as the reference ran it: what differs from f64 by more than 1e-6 must be rounding.
fn single_precision(model: &Compiled, ids: &[usize]) -> Trace {
    let apply = |m: &Matrix, x: &[f32]| -> Vec<f32> {
        let cols = m.cols.len();
        let mut y = vec![0.0_f32; x.len() / m.rows.len() * cols];
        for (x, y) in x.chunks(m.rows.len()).zip(y.chunks_mut(cols)) {
            for (i, a) in x.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                for (j, y) in y.iter_mut().enumerate() {
                    *y = a.mul_add(m.at(i, j) as f32, *y);
                }
            }
        }
        y
    };
    let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let (n, size) = (ids.len(), model.key_size);
    let embedding = model.forward(ids).unwrap().embedding;
    let mut x: Vec<f32> = embedding.iter().map(|x| *x as f32).collect();
    let (mut residuals, mut patterns) = (vec![], vec![]);
    for layer in &model.layers {
        let (mut sum, mut logits_of_layer) = (vec![0.0_f32; x.len()], vec![]);
        for head in &layer.heads {
            let (q, k, v) = (apply(&head.w_q, &x), apply(&head.w_k, &x), apply(&head.w_v, &x));
            let (mut logits, mut z) = (vec![-1e30_f32; n * n], vec![0.0_f32; n * size]);
            for i in 0..n {
                let row = &mut logits[i * n..(i + 1) * n];
                for (j, logit) in row.iter_mut().enumerate().filter(|(j, _)| !model.causal || *j <= i) {
                    let dot: f32 =
                        q[i * size..(i + 1) * size].iter().zip(&k[j * size..]).map(|(a, b)| a * b).sum();
                    *logit = dot / (size as f32).sqrt();
                }
                let max = row.iter().copied().fold(f32::MIN, f32::max);
                let exp: Vec<f32> = row.iter().map(|l| (l - max).exp()).collect();
                let total: f32 = exp.iter().sum();
                for (j, e) in exp.iter().enumerate() {
                    for (z, v) in z[i * size..(i + 1) * size].iter_mut().zip(&v[j * size..]) {
                        *z = (e / total).mul_add(*v, *z);
                    }
                }
            }
            logits_of_layer.push(wide(&logits));
            sum = sum.iter().zip(apply(&head.w_o, &z)).map(|(a, b)| a + b).collect();
        }
        x = x.iter().zip(&sum).map(|(a, b)| a + b).collect();
        residuals.push(wide(&x));
        patterns.push(logits_of_layer);
        let hidden: Vec<f32> = apply(&layer.w_in, &x).iter().map(|h| h.max(0.0)).collect();
        x = x.iter().zip(apply(&layer.w_out, &hidden)).map(|(a, b)| a + b).collect();
        residuals.push(wide(&x));
    }
    let output = wide(&apply(&model.unembedding, &x));
    Trace { embedding, residuals, attention_logits: patterns, output }
}

fn check_program(id: &str, source: &Source, golden: &Json) {
    assert_eq!(source.task, golden["description"].as_str().unwrap());
    assert_eq!(source.program.vocabulary, values(&golden["vocab"]), "{id}");
    assert_eq!(source.program.causal, golden["causal"].as_bool().unwrap(), "{id}");
    assert_eq!(
        source.program.max_length as u64 + 1,
        golden["max_seq_len_incl_bos"].as_u64().unwrap(),
        "{id}"
    );
    let ours = source.program.operations().unwrap();
    let theirs = golden["rasp_graph"].as_array().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{id}");
    for (our, their) in ours.iter().zip(theirs) {
        assert_eq!(our.label, their["id"].as_str().unwrap(), "{id}");
        let inputs: Vec<&str> =
            their["children"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        assert_eq!(our.inputs, inputs, "{id} {}", our.label);
        assert_eq!(our.encoding.map(Encoding::name), their["encoding"].as_str(), "{id} {}", our.label);
        if let Some(set) = their.get("value_set") {
            assert_eq!(our.values, values(set), "{id} {}", our.label);
        }
    }
}

fn check_weights(id: &str, model: &Compiled, golden: &Json) {
    let labels: Vec<&str> =
        golden["residual_labels"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    assert_eq!(model.residual.labels(), labels, "{id}");
    let config = &golden["config"];
    let ours =
        [model.n_layers(), model.n_heads, model.key_size, model.d_mlp, model.d_model(), model.d_vocab()];
    let names = ["n_layers", "n_heads", "key_size", "mlp_hidden_size", "d_model", "d_vocab"];
    for (ours, name) in ours.iter().zip(names) {
        assert_eq!(*ours as u64, config[name].as_u64().unwrap(), "{id} {name}");
    }
    let tokens: Vec<Value> =
        golden["input_encoding"].as_array().unwrap().iter().filter_map(|pair| value(&pair[0])).collect();
    assert_eq!(model.input_encoding, tokens, "{id}");
    match &model.output_encoding {
        OutputEncoding::Numerical => assert_eq!(golden["output_kind"], "numerical"),
        OutputEncoding::Categorical(ours) => {
            let theirs: Vec<Value> = golden["output_encoding"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|pair| value(&pair[0]))
                .collect();
            assert_eq!(*ours, theirs, "{id}");
        }
    }
    for (name, json) in golden["params"].as_object().unwrap() {
        let (shape, theirs) = dense(json);
        let (our_shape, ours) =
            parameter(model, name).unwrap_or_else(|| (shape.clone(), vec![0.0; theirs.len()]));
        assert_eq!(our_shape, shape, "{id} {name}");
        let difference = largest_difference(&ours, &theirs);
        assert!(difference <= 1e-6, "{id} {name}: differs by {difference}");
    }
    let (_, theirs) = dense(&golden["unembed"]);
    assert_eq!(model.unembedding.data, theirs, "{id}");
}

/// The labels of hidden units, query, key and value directions, block by block.
fn check_blocks(id: &str, model: &Compiled, golden: &Json) {
    let text = |json: &Json| -> Vec<String> {
        let label = |d: &Json| match value(&d[1]) {
            Some(v) => format!("{}:{v}", d[0].as_str().unwrap()),
            None => d[0].as_str().unwrap().to_owned(),
        };
        json.as_array().unwrap().iter().map(label).collect()
    };
    let used = |labels: &[String]| labels.iter().filter(|l| !l.is_empty()).cloned().collect::<Vec<_>>();
    let blocks = golden["craft_blocks"].as_array().unwrap();
    let mut mlps = blocks.iter().filter(|b| b["kind"] == "mlp");
    let mut heads =
        blocks.iter().filter(|b| b["kind"] == "attn").flat_map(|b| b["heads"].as_array().unwrap());
    for layer in &model.layers {
        for head in layer.heads.iter().filter(|h| h.label.is_some()) {
            let theirs = heads.next().unwrap();
            assert_eq!(used(&head.w_k.cols.labels), text(&theirs["k"]), "{id}");
            assert_eq!(used(&head.w_v.cols.labels), text(&theirs["out"]), "{id}");
        }
        if !layer.mlp_labels.is_empty() {
            assert_eq!(used(&layer.w_in.cols.labels), text(&mlps.next().unwrap()["hidden"]), "{id}");
        }
    }
    assert!(mlps.next().is_none() && heads.next().is_none(), "{id}");
}

fn ids(io: &Json) -> Vec<usize> {
    io["ids"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect()
}

fn check_interpreter(id: &str, source: &Source, model: &Compiled, io: &Json) {
    let tokens: Vec<Value> = io["tokens"].as_array().unwrap().iter().skip(1).filter_map(value).collect();
    assert_eq!(model.encode(&tokens).unwrap(), ids(io), "{id}");
    let theirs: Vec<Option<Value>> = io["rasp_output"].as_array().unwrap().iter().map(value).collect();
    let ours = source.program.run(&tokens).unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(&theirs) {
        let close = match (a.as_ref().and_then(Value::as_number), b.as_ref().and_then(Value::as_number)) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-12,
            _ => a == b,
        };
        assert!(close, "{id} {tokens:?}: {a:?}, not {b:?}");
    }
    let decoded: Vec<Option<Value>> = io["decoded"].as_array().unwrap().iter().skip(1).map(value).collect();
    for ((a, b), program) in model.run(&tokens).unwrap().iter().zip(&decoded).zip(&ours) {
        let close = match (a.as_number(), b.as_ref().and_then(Value::as_number)) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-6,
            _ => Some(a) == b.as_ref(),
        };
        // Where the program has no value, the largest of nothing but rounding decides.
        assert!(close || program.is_none(), "{id} {tokens:?}: {a} is decoded, not {b:?}");
    }
}

/// The largest difference of outputs and activations between runs of ours and the reference's.
fn differences(golden: &Json, forward: impl Fn(&[usize]) -> Trace) -> f64 {
    let mut largest = 0.0_f64;
    let mut compare = |ours: &[f64], theirs: &Json| {
        largest = largest.max(largest_difference(ours, &floats(&theirs["val"])));
    };
    for io in golden["io"].as_array().unwrap() {
        compare(&forward(&ids(io)).output, &io["output_matrix"]);
    }
    for run in golden["activations"].as_array().unwrap() {
        let trace = forward(&ids(&golden["io"][run["input"].as_u64().unwrap() as usize]));
        compare(&trace.embedding, &run["input_embeddings"]);
        for (ours, theirs) in trace.residuals.iter().zip(run["residuals"].as_array().unwrap()) {
            compare(ours, theirs);
        }
        for (ours, theirs) in trace.attention_logits.iter().zip(run["attn_logits"].as_array().unwrap()) {
            compare(&ours.concat(), theirs);
        }
    }
    largest
}

#[test]
fn compiled_cases_equal_the_reference() {
    for id in CASES {
        let Some(golden) = read(id) else { continue };
        let source = cases::find(id).unwrap();
        let model = source.program.compile().unwrap();
        check_program(id, &source, &golden);
        check_weights(id, &model, &golden);
        check_blocks(id, &model, &golden);
        for io in golden["io"].as_array().unwrap() {
            check_interpreter(id, &source, &model, io);
        }
        let single = differences(&golden, |ids| single_precision(&model, ids));
        let double = differences(&golden, |ids| model.forward(ids).unwrap());
        eprintln!("golden case {id}: within {single:.1e} in f32, {double:.1e} in f64");
        // In case 9 two logits of one run are ±2e-5 where they should be 0: one f32 step of a residual (1.9e-6)
        // times the query weight. Neither f64 nor f32 with fused products has it.
        let allowed = if id == "9" { 3e-5 } else { 1e-6 };
        assert!(single <= allowed && double <= 3e-5, "{id}: {single:e} in f32, {double:e} in f64");
    }
}
