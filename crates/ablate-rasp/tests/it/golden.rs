//! Entry by entry against the reference compiler's own output.
//!
//! The reference computes in f32. Labels, shapes and weights are compared at 1e-6 (relative above 1). Its
//! activations carry f32 rounding that the slope 100 of the rounding MLPs multiplies; the tolerance of each
//! case is stated in [`CASES`]. No permutation is needed: every axis is in the reference's order.

use std::path::PathBuf;

use ablate_rasp::{Compiled, Matrix, OutputEncoding, Source, Value, cases};
use serde_json::Value as Json;

/// Id, and the tolerance of activations and outputs.
const CASES: [(&str, f64); 17] = [
    ("2", 1e-6),
    ("3", 1e-6),
    ("4", 1e-6),
    ("5", 1e-6),
    ("7", 1e-6),
    ("9", 1e-6),
    ("11", 1e-6),
    ("13", 1e-6),
    ("14", 1e-6),
    ("15", 1e-6),
    ("17", 1e-6),
    ("18", 1e-6),
    ("19", 1e-6),
    ("21", 1e-6),
    ("24", 1e-6),
    ("25", 1e-6),
    ("38", 1e-6),
];
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
    let shape: Vec<usize> = json["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
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

fn check_program(id: &str, source: &Source, golden: &Json) {
    assert_eq!(source.task, golden["description"].as_str().unwrap());
    assert_eq!(source.program.vocabulary, values(&golden["vocab"]), "{id}");
    assert_eq!(source.program.causal, golden["causal"].as_bool().unwrap(), "{id}");
    assert_eq!(source.program.max_length as u64 + 1, golden["max_seq_len_incl_bos"].as_u64().unwrap(), "{id}");
    let ours = source.program.operations().unwrap();
    let theirs = golden["rasp_graph"].as_array().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{id}");
    for (our, their) in ours.iter().zip(theirs) {
        assert_eq!(our.label, their["id"].as_str().unwrap(), "{id}");
        let inputs: Vec<&str> = their["children"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        assert_eq!(our.inputs, inputs, "{id} {}", our.label);
        assert_eq!(our.encoding.map(|e| e.name()), their["encoding"].as_str(), "{id} {}", our.label);
        if let Some(set) = their.get("value_set") {
            assert_eq!(our.values, values(set), "{id} {}", our.label);
        }
    }
}

fn check_weights(id: &str, model: &Compiled, golden: &Json) {
    let labels: Vec<&str> = golden["residual_labels"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    assert_eq!(model.residual.labels(), labels, "{id}");
    let config = &golden["config"];
    let ours = [model.n_layers(), model.n_heads, model.key_size, model.d_mlp, model.d_model(), model.d_vocab()];
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
            let theirs: Vec<Value> =
                golden["output_encoding"].as_array().unwrap().iter().filter_map(|pair| value(&pair[0])).collect();
            assert_eq!(*ours, theirs, "{id}");
        }
    }
    for (name, json) in golden["params"].as_object().unwrap() {
        let (shape, theirs) = dense(json);
        let (our_shape, ours) = parameter(model, name).unwrap_or_else(|| (shape.clone(), vec![0.0; theirs.len()]));
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
    let mut heads = blocks.iter().filter(|b| b["kind"] == "attn").flat_map(|b| b["heads"].as_array().unwrap());
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

/// The largest differences of outputs and of activations.
fn check_runs(id: &str, source: &Source, model: &Compiled, golden: &Json) -> (f64, f64) {
    let (mut outputs, mut activations) = (0.0_f64, 0.0_f64);
    for io in golden["io"].as_array().unwrap() {
        let tokens: Vec<Value> = io["tokens"].as_array().unwrap().iter().skip(1).filter_map(value).collect();
        let ids: Vec<usize> = io["ids"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect();
        assert_eq!(model.encode(&tokens).unwrap(), ids, "{id}");
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
        let trace = model.forward(&ids).unwrap();
        let matrix = floats(&io["output_matrix"]["val"]);
        outputs = outputs.max(largest_difference(&trace.output, &matrix));
    }
    for run in golden["activations"].as_array().unwrap() {
        let io = &golden["io"][run["input"].as_u64().unwrap() as usize];
        let ids: Vec<usize> = io["ids"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect();
        let trace = model.forward(&ids).unwrap();
        activations = activations.max(largest_difference(&trace.embedding, &floats(&run["input_embeddings"]["val"])));
        for (ours, theirs) in trace.residuals.iter().zip(run["residuals"].as_array().unwrap()) {
            activations = activations.max(largest_difference(ours, &floats(&theirs["val"])));
        }
        for (ours, theirs) in trace.attention_logits.iter().zip(run["attn_logits"].as_array().unwrap()) {
            activations = activations.max(largest_difference(&ours.concat(), &floats(&theirs["val"])));
        }
    }
    (outputs, activations)
}

#[test]
fn compiled_cases_equal_the_reference() {
    let mut report = vec![];
    for (id, tolerance) in CASES {
        let Some(golden) = read(id) else { continue };
        let source = cases::find(id).unwrap();
        let model = source.program.compile().unwrap();
        check_program(id, &source, &golden);
        check_weights(id, &model, &golden);
        check_blocks(id, &model, &golden);
        let (outputs, activations) = check_runs(id, &source, &model, &golden);
        eprintln!("golden case {id}: outputs within {outputs:.1e}, activations within {activations:.1e}");
        if outputs > tolerance || activations > tolerance {
            report.push(format!("{id}: outputs {outputs:e}, activations {activations:e}, allowed {tolerance:e}"));
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}
