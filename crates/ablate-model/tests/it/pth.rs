//! `.pth` files: every number type, strides and shared storages, and hostile zips and pickles.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use ablate_model::pickle::{self, Global, Object, Value};
use ablate_model::torch::{Data, Number, TorchFile, write};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::ground::folder;

fn object(module: &str, name: &str, args: Vec<Value>, items: Vec<(Value, Value)>) -> Value {
    Value::Object(Box::new(Object { class: Global::new(module, name), args, new: false, items, state: None }))
}

fn ints(all: &[i128]) -> Value {
    Value::Tuple(all.iter().map(|n| Value::Int(*n)).collect())
}

/// A tensor as the format says it.
struct Made {
    class: &'static str,
    key: &'static str,
    count: i128,
    offset: i128,
    shape: Vec<i128>,
    strides: Vec<i128>,
}

impl Made {
    fn floats(key: &'static str, count: i128, shape: &[i128], strides: &[i128]) -> Self {
        Self { class: "FloatStorage", key, count, offset: 0, shape: shape.into(), strides: strides.into() }
    }

    fn value(&self) -> Value {
        let class = Value::Global(Global::new("torch", self.class));
        let id = vec![
            Value::from("storage"),
            class,
            Value::from(self.key),
            Value::from("cuda:0"),
            Value::Int(self.count),
        ];
        let hooks = object("collections", "OrderedDict", vec![], vec![]);
        let args = vec![
            Value::Persistent(Box::new(Value::Tuple(id))),
            Value::Int(self.offset),
            ints(&self.shape),
            ints(&self.strides),
            Value::Bool(false),
            hooks,
        ];
        object("torch._utils", "_rebuild_tensor_v2", args, vec![])
    }
}

/// The pickle of a dictionary of these.
fn dict(items: Vec<(&str, Value)>) -> Vec<u8> {
    let items = items.into_iter().map(|(k, v)| (Value::from(k), v)).collect();
    pickle::write(&object("collections", "OrderedDict", vec![], items))
}

/// A zip of these entries in folder `a`.
fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(format!("a/{name}"), stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hostile.pth");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// A file of one dictionary and one storage of six floats.
fn with(items: Vec<(&str, Value)>) -> Vec<u8> {
    let floats: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    zipped(&[("data.pkl", &dict(items)), ("byteorder", b"little"), ("version", b"3\n"), ("data/0", &floats)])
}

/// The error of opening `bytes`, which mentions all `words` and the file.
fn refused(bytes: &[u8], words: &[&str]) -> String {
    let (_dir, path) = file(bytes);
    let error = TorchFile::open(&path).expect_err(words[0]);
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{text} should mention {word:?}");
    }
    assert!(text.contains("hostile.pth") && error.hint().is_some(), "{error:?}");
    text
}

#[test]
fn strides_offsets_and_shared_storages_are_followed() {
    let items = vec![
        ("a", Made::floats("0", 6, &[2, 3], &[3, 1]).value()),
        ("transposed", Made::floats("0", 6, &[3, 2], &[1, 3]).value()),
        ("column", Made { offset: 1, ..Made::floats("0", 6, &[2, 1], &[3, 7]) }.value()),
        ("last", Made { offset: 5, ..Made::floats("0", 6, &[], &[]) }.value()),
        ("empty", Made { offset: 6, ..Made::floats("0", 6, &[0, 4], &[4, 1]) }.value()),
        (
            "parameter",
            object(
                "torch._utils",
                "_rebuild_parameter",
                vec![Made::floats("0", 6, &[6], &[1]).value()],
                vec![],
            ),
        ),
    ];
    let (_dir, path) = file(&with(items));
    let file = TorchFile::open(&path).unwrap();
    let numbers = |name: &str| file.numbers::<f64>(name).unwrap();
    assert_eq!(numbers("a"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(numbers("transposed"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(numbers("column"), [1.0, 4.0]);
    assert_eq!(numbers("last"), [5.0]);
    assert_eq!(numbers("parameter").len(), 6);
    assert!(numbers("empty").is_empty());
    assert_eq!(file.names(), ["a", "transposed", "column", "last", "empty", "parameter"]);
    assert!(file.numbers::<f32>("other").unwrap_err().to_string().contains("tensor other is missing"));
}

#[test]
fn every_number_type_is_written_and_read() {
    let data = |number: Number, bytes: Vec<u8>| Data {
        name: number.name().into(),
        shape: vec![bytes.len() / number.bytes()],
        number,
        bytes: Box::new(move || bytes.clone()),
    };
    let all = [
        data(Number::F64, [0.1_f64, -1e300].iter().flat_map(|x| x.to_le_bytes()).collect()),
        data(Number::F32, [0.1_f32, f32::NEG_INFINITY].iter().flat_map(|x| x.to_le_bytes()).collect()),
        data(Number::F16, half::f16::from_f32(1.5).to_le_bytes().to_vec()),
        data(Number::Bf16, half::bf16::from_f32(-3.0).to_le_bytes().to_vec()),
        data(Number::I64, (-(1_i64 << 40)).to_le_bytes().to_vec()),
        data(Number::I32, (-7_i32).to_le_bytes().to_vec()),
        data(Number::I16, (-300_i16).to_le_bytes().to_vec()),
        data(Number::I8, vec![0xff]),
        data(Number::U8, vec![0xff]),
        data(Number::Bool, vec![0, 1]),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("numbers.pth");
    write(&path, &all).unwrap();
    let file = TorchFile::open(&path).unwrap();
    let expected: [&[f64]; 10] = [
        &[0.1, -1e300],
        &[0.1_f32 as f64, f64::NEG_INFINITY],
        &[1.5],
        &[-3.0],
        &[-(2.0_f64.powi(40))],
        &[-7.0],
        &[-300.0],
        &[-1.0],
        &[255.0],
        &[0.0, 1.0],
    ];
    for (data, expected) in all.iter().zip(expected) {
        assert_eq!(file.numbers::<f64>(&data.name).unwrap(), expected, "{}", data.name);
        assert_eq!(file.get(&data.name).unwrap().number, data.number);
    }
    let wrong = Data { name: "w".into(), shape: vec![3], number: Number::U8, bytes: Box::new(|| vec![1]) };
    let error = write(&path, &[wrong]).unwrap_err();
    assert!(error.to_string().contains("tensor w"), "{error}");
    assert!(TorchFile::open(&path).is_ok(), "a failed write leaves the old file");
}

#[test]
fn tensors_must_fit_their_storages() {
    let one = |made: &Made, words: &[&str]| {
        refused(&with(vec![("w", made.value())]), &[&["entry w"], words].concat())
    };
    one(&Made::floats("0", 6, &[7], &[1]), &["reaches number 6", "storage of 6"]);
    one(&Made::floats("0", 6, &[2, 3], &[4, 1]), &["reaches number 6"]);
    one(&Made { offset: 1, ..Made::floats("0", 6, &[6], &[1]) }, &["reaches number 6"]);
    one(&Made { offset: 1 << 70, ..Made::floats("0", 6, &[1], &[1]) }, &["size of"]);
    one(&Made { offset: i128::from(u64::MAX), ..Made::floats("0", 6, &[2], &[1]) }, &["overflow"]);
    one(&Made { offset: -1, ..Made::floats("0", 6, &[1], &[1]) }, &["size of -1"]);
    one(&Made::floats("0", 6, &[-1], &[1]), &["size of -1"]);
    one(&Made::floats("0", 6, &[2, 3], &[1]), &["2 dimensions but 1 strides"]);
    // a tensor of stride 0 would be larger than its storage
    one(&Made::floats("0", 6, &[1 << 40], &[0]), &["1099511627776 numbers", "has 6"]);
    one(&Made::floats("0", 6, &[1 << 40, 1 << 40], &[0, 0]), &["overflow"]);
    one(&Made::floats("0", 6, &[2, 2], &[1 << 62, 1 << 62]), &["reaches"]);
    one(&Made::floats("0", 7, &[6], &[1]), &["data/0 should hold 7 numbers", "24 bytes"]);
    one(&Made::floats("0", 1 << 62, &[6], &[1]), &["should hold"]);
    one(&Made::floats("1", 6, &[6], &[1]), &["data/1 is missing"]);
    one(&Made::floats("../../secret", 6, &[6], &[1]), &["is missing"]);
    // the same storage so often that reading all would need far more than the file
    let views: Vec<String> = (0..4000).map(|i| format!("w{i}")).collect();
    let big = vec![0_u8; 1 << 20];
    let tensor = Made::floats("0", 1 << 18, &[1 << 18], &[1]).value();
    let items = views.iter().map(|n| (n.as_str(), tensor.clone())).collect();
    let bytes = zipped(&[("data.pkl", &dict(items)), ("version", b"3\n"), ("data/0", &big)]);
    refused(&bytes, &["share storages so often"]);
}

#[test]
fn only_dictionaries_of_tensors_are_read() {
    let entry = |value: Value, words: &[&str]| refused(&with(vec![("w", value)]), words);
    entry(Value::Int(3), &["entry w", "no tensor"]);
    entry(Value::Dict(vec![]), &["entry w", "no tensor"]);
    entry(object("collections", "OrderedDict", vec![], vec![]), &["entry w", "no tensor"]);
    entry(object("torch._utils", "_rebuild_tensor_v2", vec![Value::Int(1)], vec![]), &["without storage"]);
    entry(object("torch._utils", "_rebuild_tensor_v2", vec![Value::None; 6], vec![]), &["no storage"]);
    entry(object("torch._utils", "_rebuild_parameter", vec![], vec![]), &["without tensor"]);
    entry(
        Made { class: "float32", ..Made::floats("0", 6, &[6], &[1]) }.value(),
        &["torch.float32", "not allowed"],
    );
    let w = || Made::floats("0", 6, &[6], &[1]).value();
    refused(&with(vec![("w", w()), ("w", w())]), &["entry w is there twice"]);
    let pickled = |value: &Value| zipped(&[("data.pkl", &pickle::write(value)), ("version", b"3")]);
    refused(&pickled(&Value::List(vec![])), &["no dictionary of tensors"]);
    refused(&pickled(&Value::Dict(vec![(Value::Int(1), Value::None)])), &["key that is no text"]);
    let call = object("os", "system", vec![Value::from("echo")], vec![]);
    refused(&pickled(&call), &["data.pkl", "os.system"]);
    refused(&with(vec![("w", call)]), &["data.pkl", "os.system", "not allowed"]);
    refused(&zipped(&[("data.pkl", b"\x80\x02]"), ("version", b"3")]), &["data.pkl", "ends in the middle"]);
}

/// `bytes` with the 2- or 4-byte field at `offset` behind every header of this signature and entry name changed.
fn patched(bytes: &[u8], signature: &[u8; 4], offset: usize, field: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let starts: Vec<usize> = (0..bytes.len() - 4).filter(|i| bytes[*i..].starts_with(signature)).collect();
    for start in starts {
        out[start + offset..][..field.len()].copy_from_slice(field);
    }
    out
}

#[test]
fn zips_are_not_trusted() {
    let good = with(vec![("w", Made::floats("0", 6, &[6], &[1]).value())]);
    let (_dir, path) = file(&good);
    assert!(TorchFile::open(&path).is_ok());
    let (local, central) = (b"PK\x03\x04", b"PK\x01\x02");
    // compressed: method 8 in both headers
    let deflated = patched(&patched(&good, local, 8, &[8, 0]), central, 10, &[8, 0]);
    refused(&deflated, &["zip entry a/data.pkl", "compressed"]);
    // a bomb: stored bytes that claim to be 4 GiB; more bytes than the file has
    refused(&patched(&good, central, 24, &0xf000_0000_u32.to_le_bytes()), &["zip entry", "4026531840 bytes"]);
    let huge = patched(&good, central, 20, &0xf000_0000_u32.to_le_bytes());
    refused(&patched(&huge, central, 24, &0xf000_0000_u32.to_le_bytes()), &["4026531840", "the file has"]);
    // encrypted; a wrong checksum; an entry somewhere else
    refused(&patched(&patched(&good, local, 6, &[1, 0]), central, 8, &[1, 0]), &["encrypted"]);
    refused(&patched(&good, central, 16, &[1, 2, 3, 4]), &["zip entry a/"]);
    refused(&patched(&good, central, 42, &0x7000_0000_u32.to_le_bytes()), &["zip"]);
    // the same bytes as two entries
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file("a/data.pkl", stored).unwrap();
    zip.write_all(&dict(vec![])).unwrap();
    zip.shallow_copy_file("a/data.pkl", "a/data/0").unwrap();
    refused(&zip.finish().unwrap().into_inner(), &["overlap"]);
    let twice = zipped(&[("data.pkl", b"1"), ("data.pkx", b"2")]);
    let at =
        |bytes: &[u8]| (0..bytes.len()).filter(|i| bytes[*i..].starts_with(b"data.pkx")).collect::<Vec<_>>();
    let mut same = twice.clone();
    for i in at(&twice) {
        same[i + 7] = b'l';
    }
    refused(&same, &["same name"]);
}

#[test]
fn other_files_are_named_for_what_they_are() {
    refused(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", &["no zip file"]);
    refused(b"PK\x03\x04 and nothing else", &["zip"]);
    refused(b"", &["is empty"]);
    refused(&zipped(&[("version", b"3\n")]), &["no data.pkl"]);
    refused(
        &zipped(&[("data.pkl", &dict(vec![])), ("byteorder", b"big"), ("version", b"3")]),
        &["byte order \"big\""],
    );
    refused(&zipped(&[("data.pkl", &dict(vec![]))]), &["no entry version"]);
    refused(&zipped(&[("data.pkl", &dict(vec![])), ("version", b"x")]), &["version \"x\""]);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for name in ["a/data.pkl", "b/data.pkl"] {
        zip.start_file(name, SimpleFileOptions::default().compression_method(CompressionMethod::Stored))
            .unwrap();
    }
    refused(&zip.finish().unwrap().into_inner(), &["more than one data.pkl"]);
    let missing = Path::new("nowhere/at/all.pth");
    assert!(TorchFile::open(missing).unwrap_err().to_string().contains("all.pth"));
}

#[test]
fn damage_anywhere_is_survived() {
    let whole = std::fs::read(folder("3").join("ll_model.pth")).unwrap();
    for n in (0..whole.len()).step_by(997).chain(whole.len() - 60..whole.len()) {
        let (_dir, path) = file(&whole[..n]);
        assert!(TorchFile::open(&path).is_err(), "cut at {n}");
    }
    let small = with(vec![("w", Made::floats("0", 6, &[2, 3], &[3, 1]).value())]);
    let (_dir, path) = file(&small);
    for at in 0..small.len() {
        for value in [0, 0xff, small[at] ^ 1, small[at] ^ 0x80] {
            let mut bytes = small.clone();
            bytes[at] = value;
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(file) = TorchFile::open(&path) {
                file.names().iter().for_each(|n| drop(file.numbers::<f32>(n).unwrap()));
            }
        }
    }
}
