//! The pickle reader: what Python writes is read, nothing is ever executed, and hostile files are one clear error.

use ablate_model::pickle::{Allow, Global, Limits, Object, Refused, Value, read, read_file, write};

use crate::ground::folder;

fn plain(bytes: &[u8]) -> Result<Value, Refused> {
    read(bytes, &Allow::default())
}

/// The error of reading `bytes`, which mentions `word` and has a hint.
fn refused(bytes: &[u8], word: &str) -> Refused {
    let error = plain(bytes).expect_err(word);
    assert!(error.message.contains(word), "{error:?} should mention {word:?}");
    assert!(!error.hint.is_empty());
    error
}

/// The pickle of these instructions, protocol 4.
fn program(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0x80, 4];
    bytes.extend(parts.concat());
    bytes.push(b'.');
    bytes
}

fn short(text: &str) -> Vec<u8> {
    [&[0x8c, text.len() as u8], text.as_bytes()].concat()
}

#[test]
fn calls_are_refused_by_name() {
    // what attackers write: os.system('echo'), in both spellings, as an instance, by __reduce__ of builtins, by state
    refused(b"cos\nsystem\n(S'echo'\ntR.", "os.system");
    refused(&program(&[b"cos\nsystem\n", &short("echo"), &[0x85], b"R"]), "os.system");
    for (module, name) in [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("posix", "system"),
        ("nt", "system"),
        ("subprocess", "Popen"),
    ] {
        let bytes = program(&[&short(module), &short(name), &[0x93], &short("1"), &[0x85], b"R"]);
        let error = refused(&bytes, &format!("{module}.{name}"));
        assert!(error.hint.contains("nothing is executed"), "{error:?}");
    }
    refused(&program(&[b"c__builtin__\neval\n)R"]), "__builtin__.eval");
    refused(b"(S'echo'\nios\nsystem\n.", "protocols 0 and 1");
    refused(b"(cos\nsystem\nS'echo'\no.", "os.system");
    refused(&program(&[&short("os"), &short("system"), &[0x93], b")", &[0x81]]), "os.system");
    refused(&program(&[b"\x82\x01"]), "EXT1");
    refused(&program(&[b"}Q"]), "persistent id");
    // dotted names reach through modules in Python; here they are only another name
    refused(
        &program(&[b"ccollections\nOrderedDict.__init__.__globals__\n"]),
        "OrderedDict.__init__.__globals__",
    );
}

#[test]
fn what_may_be_named_may_not_be_called() {
    let allow = Allow { named: &[("os", "system")], ..Allow::default() };
    let named = program(&[b"cos\nsystem\n"]);
    assert_eq!(read(&named, &allow).unwrap(), Value::Global(Global::new("os", "system")));
    let error = read(&program(&[b"cos\nsystem\n)R"]), &allow).unwrap_err();
    assert!(error.message.contains("os.system") && error.message.contains("not called"), "{error:?}");
    for call in [&b"K\x01)R"[..], b")}b", b"}}b", b"cos\nsystem\n}b"] {
        assert!(read(&program(&[call]), &allow).is_err(), "{call:?}");
    }
    // allowed calls are recorded, never made
    let allow = Allow { called: &[("os", "system")], ..Allow::default() };
    let bytes = program(&[b"cos\nsystem\n", &short("echo"), &[0x85], b"R}b"]);
    let expected = Object {
        class: Global::new("os", "system"),
        args: vec![Value::from("echo")],
        new: false,
        items: vec![],
        state: Some(Value::Dict(vec![])),
    };
    assert_eq!(read(&bytes, &allow).unwrap(), Value::Object(Box::new(expected)));
}

#[test]
fn a_real_pickle_of_an_unknown_class_is_refused_by_name() {
    let path = folder("3").join("final_circuit.pkl");
    let error = read_file(&path, &Allow::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("final_circuit.pkl"), "{text}");
    assert!(text.contains("circuits_benchmark.utils.circuit.circuit.Circuit"), "{text}");
    let allow =
        Allow { called: &[("circuits_benchmark.utils.circuit.circuit", "Circuit")], ..Allow::default() };
    let Value::Object(object) = read_file(&path, &allow).unwrap() else { panic!() };
    let state = object.state.as_ref().and_then(Value::entries).unwrap();
    assert_eq!(state[0].0.as_str(), Some("graph"));
    assert!(object.new && object.args.is_empty());
}

#[test]
fn nesting_is_limited() {
    let nested = |n: usize, open: &[u8], close: &[u8]| program(&[&open.repeat(n), &close.repeat(n - 1)]);
    assert!(plain(&nested(60, b"]", b"a")).is_ok());
    refused(&nested(65, b"]", b"a"), "nested more than 64");
    refused(&nested(1_000_000, b"]", b"a"), "nested more than 64");
    refused(&program(&[b"N", &[0x85].repeat(500_000)]), "nested more than 64");
    let persistent = Allow { persistent: true, ..Allow::default() };
    assert!(read(&program(&[b"N", &b"Q".repeat(500_000)]), &persistent).is_err());
    // a list that holds itself
    refused(&program(&[b"]q\x00h\x00a"]), "nested more than 64");
    refused(&program(&[b"}q\x00h\x00h\x00s"]), "nested more than 64");
}

#[test]
fn memo_bombs_do_not_unfold() {
    // each list holds the one before twice: 2^40 values in 300 bytes
    let mut parts = b"]q\x00".to_vec();
    for i in 0..40_u8 {
        parts.extend([b']', b'q', i + 1, b'(', b'h', i, b'h', i, b'e']);
    }
    refused(&program(&[&parts]), "more than 1048576 values");
    // one long text, used again and again
    let text = [&b"X"[..], &(1_u32 << 20).to_le_bytes(), &vec![b'a'; 1 << 20], b"q\x00"].concat();
    refused(&program(&[&text, b"0]", b"(", &b"h\x00".repeat(1000), b"e"]), "bytes");
    // more values, marks, memo entries or copies on the stack than are allowed
    let small = Allow { limits: Limits { bytes: 1 << 20, items: 100 }, ..Allow::default() };
    for filler in [&b"]"[..], b"(", b"N\x94", b"N2"] {
        let error = read(&program(&[b"N", &filler.repeat(1000)]), &small).unwrap_err();
        assert!(error.message.contains("more than 100 values"), "{filler:?} {error:?}");
    }
    let error = read(&program(&[&b"N0".repeat(1 << 20)]), &small).unwrap_err();
    assert!(error.message.contains("1048576 bytes"), "{error:?}");
}

#[test]
fn declared_lengths_are_checked_first() {
    let huge = u64::MAX.to_le_bytes();
    for op in [0x8d, 0x8e, 0x95] {
        refused(&program(&[&[op], &huge]), "a length of 18446744073709551615 bytes");
        refused(&program(&[&[op], &(1_u64 << 40).to_le_bytes()]), "only 1 follow");
    }
    for op in *b"XBT" {
        refused(&program(&[&[op], &u32::MAX.to_le_bytes()]), "a length of 4294967295 bytes");
    }
    refused(&program(&[&[0x8b], &u32::MAX.to_le_bytes()]), "a length of 4294967295 bytes");
    refused(&program(&[b"j", &u32::MAX.to_le_bytes()]), "memo 4294967295");
    assert!(plain(&program(&[b"Nr", &u32::MAX.to_le_bytes()])).is_ok());
    refused(&program(&[&[0x96], &huge]), "BYTEARRAY8");
    refused(&program(&[&[0x8a, 17], &[1; 17]]), "17 bytes");
    refused(&program(&[b"c", &[b'a'; 5000]]), "does not end");
}

#[test]
fn damage_is_an_error() {
    refused(b"", "empty");
    refused(b"\x80\x07N.", "protocol 7");
    refused(b"\x80\x01N.", "protocol 1");
    for bad in [
        &b"."[..],
        b"0.",
        b"a.",
        b"]a.",
        b"(.",
        b"(N.",
        b"NNs.",
        b"(Nu.",
        b"}(Nu.",
        b"}(NNNu.",
        b"NNa.",
        b"e.",
        b"\x85.",
        b"\x93.",
        b"NN\x93.",
        b"R.",
        b"NNR.",
        b"b.",
        b"Nb.",
        b"NNb.",
        b"h\x00.",
        b"\x94.",
        b"(1.",
        b"N(\x87.",
        b"\xff.",
        b"t.",
        b"(N0N0.",
    ] {
        let bytes = [&[0x80, 4], bad].concat();
        assert!(plain(&bytes).is_err(), "{bad:?}");
    }
    refused(&program(&[b"X\x02\x00\x00\x00\xff\xfe"]), "UTF-8");
    let whole = std::fs::read(folder("3").join("edges.pkl")).unwrap();
    for n in 0..whole.len() {
        assert!(plain(&whole[..n]).is_err(), "cut at {n}");
    }
    // any changed byte is survived
    for at in 0..whole.len() {
        for value in [0, 0x28, 0x2e, 0x63, 0x68, 0x80, 0x93, 0xff, whole[at] ^ 1, whole[at] ^ 0x80] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = plain(&bytes);
        }
    }
}

#[test]
fn large_files_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.pkl");
    std::fs::File::create(&path).unwrap().set_len(1 << 36).unwrap();
    let error = read_file(&path, &Allow::default()).unwrap_err();
    assert!(error.to_string().contains("68719476736 bytes") && error.hint().is_some(), "{error}");
    assert!(read_file(dir.path(), &Allow::default()).unwrap_err().to_string().contains("not a file"));
}

#[test]
fn plain_values_round_trip() {
    let text = "ä".repeat(200);
    let value = Value::Dict(vec![
        (Value::from("none"), Value::None),
        (Value::from("flags"), Value::Tuple(vec![Value::Bool(true), Value::Bool(false)])),
        (
            Value::from("ints"),
            Value::List(
                [0, 1, 255, 256, 65535, 65536, -1, i128::from(i32::MIN), 1 << 40, -(1 << 70), i128::MAX]
                    .map(Value::Int)
                    .to_vec(),
            ),
        ),
        (Value::from("floats"), Value::Tuple([0.0, -0.5, 1e300, f64::INFINITY].map(Value::Float).to_vec())),
        (Value::from("text"), Value::Str(text)),
        (Value::from("bytes"), Value::Bytes(vec![0, 255, 10])),
        (
            Value::from("empty"),
            Value::List(vec![Value::Tuple(vec![]), Value::Dict(vec![]), Value::Set(vec![])]),
        ),
        (Value::from("long"), Value::List((0..2500).map(Value::Int).collect())),
        (Value::from("set"), Value::Set(vec![Value::Int(1)])),
        (Value::Int(4), Value::Tuple((0..4).map(Value::Int).collect())),
    ]);
    assert_eq!(plain(&write(&value)).unwrap(), value);
}

#[test]
fn what_python_writes_is_read() {
    // pickle.dumps([1, -2, 3.5, 'a', b'b', (None,), {'k': True}, {7}, frozenset([8]), 1 << 40], protocol)
    let two = b"\x80\x02]q\x00(K\x01J\xfe\xff\xff\xffG@\x0c\x00\x00\x00\x00\x00\x00X\x01\x00\x00\x00aq\x01N\x85q\x02}q\x03X\x01\x00\x00\x00kq\x04\x88s\x8a\x06\x00\x00\x00\x00\x00\x01e.";
    let four = b"\x80\x04\x95+\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01J\xfe\xff\xff\xffG@\x0c\x00\x00\x00\x00\x00\x00\x8c\x01a\x94N\x85\x94}\x94\x8c\x01k\x94\x88s\x8a\x06\x00\x00\x00\x00\x00\x01e.";
    let expected = Value::List(vec![
        Value::Int(1),
        Value::Int(-2),
        Value::Float(3.5),
        Value::from("a"),
        Value::Tuple(vec![Value::None]),
        Value::Dict(vec![(Value::from("k"), Value::Bool(true))]),
        Value::Int(1 << 40),
    ]);
    assert_eq!(plain(two).unwrap(), expected);
    assert_eq!(plain(four).unwrap(), expected);
    assert_eq!(plain(&program(&[b"(K\x01K\x02l"])).unwrap(), Value::List(vec![Value::Int(1), Value::Int(2)]));
    assert_eq!(
        plain(&program(&[b"(K\x01K\x02d"])).unwrap(),
        Value::Dict(vec![(Value::Int(1), Value::Int(2))])
    );
    assert_eq!(plain(&program(&[b"(K\x01\x91"])).unwrap(), Value::Set(vec![Value::Int(1)]));
    assert_eq!(plain(&program(&[b"(NN1N"])).unwrap(), Value::None);
    assert_eq!(
        plain(&program(&[b"U\x01aU\x01\xff\x86"])).unwrap(),
        Value::Tuple(vec![Value::from("a"), Value::Bytes(vec![255])])
    );
}
