//! The built-in models: what they are made of, and that their circuit does what it should.

use ablate_graph::{Graph, Kv};
use ablate_model::builtin::{list, token_edges, truth, truth_edges};
use ablate_model::{AnyWeights, Codec, DType, LoadOptions, Model};

use crate::load::logits;
use crate::naive;

fn load(name: &str, dtype: DType) -> Model {
    Model::load(&format!("builtin:{name}"), &LoadOptions { dtype, ..LoadOptions::default() }).unwrap()
}

#[test]
fn words_repeat() {
    let model = load("induction", DType::F64);
    let codec = model.codec().unwrap();
    let ids = codec.encode("ring owl tree gold lake ring owl tree").unwrap();
    let rows = logits(&model, &ids);
    let best = |row: &Vec<f64>| (0..64).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32;
    for p in 5..8 {
        println!("{p} {:?}", codec.decode(&[best(&rows[p])]));
        assert_eq!(best(&rows[p]), ids[p - 4]);
    }
}
