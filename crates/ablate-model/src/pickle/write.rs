//! Writing: instructions of protocol 2 wherever they say it, which is what the careful reader of PyTorch understands.

use super::{Global, Object, Value};

/// The pickle of `value`. Nothing is shared between its parts. Texts of 4 GiB and more are cut (no file has any).
pub fn write(value: &Value) -> Vec<u8> {
    let mut out = Writer { bytes: vec![0x80, 2] };
    out.value(value);
    out.bytes.push(b'.');
    out.bytes
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn value(&mut self, value: &Value) {
        match value {
            Value::None => self.bytes.push(b'N'),
            Value::Bool(x) => self.bytes.push(if *x { 0x88 } else { 0x89 }),
            Value::Int(x) => self.int(*x),
            Value::Float(x) => self.with(b'G', &x.to_be_bytes()),
            Value::Str(text) => self.sized(b'X', text.as_bytes()),
            Value::Bytes(bytes) => {
                self.needs(3);
                self.sized(b'B', bytes);
            }
            Value::List(items) => {
                self.bytes.push(b']');
                self.batches(items, b'e');
            }
            Value::Set(items) => {
                self.needs(4);
                self.bytes.push(0x8f);
                self.batches(items, 0x90);
            }
            Value::Tuple(items) => self.tuple(items),
            Value::Dict(entries) => {
                self.bytes.push(b'}');
                self.entries(entries);
            }
            Value::Global(global) => self.global(global),
            Value::Object(object) => self.object(object),
            Value::Persistent(id) => {
                self.value(id);
                self.bytes.push(b'Q');
            }
        }
    }

    /// Raises the protocol.
    fn needs(&mut self, protocol: u8) {
        self.bytes[1] = self.bytes[1].max(protocol);
    }

    fn with(&mut self, op: u8, argument: &[u8]) {
        self.bytes.push(op);
        self.bytes.extend_from_slice(argument);
    }

    fn sized(&mut self, op: u8, data: &[u8]) {
        let n = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.with(op, &n.to_le_bytes());
        self.bytes.extend_from_slice(&data[..n as usize]);
    }

    fn int(&mut self, x: i128) {
        if let Ok(x) = u8::try_from(x) {
            self.with(b'K', &[x]);
        } else if let Ok(x) = u16::try_from(x) {
            self.with(b'M', &x.to_le_bytes());
        } else if let Ok(x) = i32::try_from(x) {
            self.with(b'J', &x.to_le_bytes());
        } else {
            self.with(0x8a, &[16]);
            self.bytes.extend_from_slice(&x.to_le_bytes());
        }
    }

    fn tuple(&mut self, items: &[Value]) {
        let small = items.len() <= 3;
        if !small {
            self.bytes.push(b'(');
        }
        for item in items {
            self.value(item);
        }
        self.bytes.push(if small { [b')', 0x85, 0x86, 0x87][items.len()] } else { b't' });
    }

    /// Items in batches, as Python writes them.
    fn batches(&mut self, items: &[Value], op: u8) {
        for batch in items.chunks(1000) {
            self.bytes.push(b'(');
            for item in batch {
                self.value(item);
            }
            self.bytes.push(op);
        }
    }

    fn entries(&mut self, entries: &[(Value, Value)]) {
        for batch in entries.chunks(1000) {
            self.bytes.push(b'(');
            for (key, value) in batch {
                self.value(key);
                self.value(value);
            }
            self.bytes.push(b'u');
        }
    }

    fn global(&mut self, global: &Global) {
        self.with(b'c', format!("{}\n{}\n", global.module, global.name).as_bytes());
    }

    fn object(&mut self, object: &Object) {
        self.global(&object.class);
        self.tuple(&object.args);
        self.bytes.push(if object.new { 0x81 } else { b'R' });
        self.entries(&object.items);
        if let Some(state) = &object.state {
            self.value(state);
            self.bytes.push(b'b');
        }
    }
}
