//! The stack machine. Values lie in one list and refer to each other by number, so that nothing here recurses, whatever
//! the file says; [`tree`](super::tree) makes the plain value of it in the end.

use std::collections::HashMap;
use std::ops::Range;

use super::{Allow, Global, Refused, Value, opcode};

/// Index of a node.
pub(super) type Id = u32;

/// A value under construction. Texts and bytes are ranges of the file.
#[derive(Clone, Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Range<usize>),
    Bytes(Range<usize>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Box<Global>),
    Object(Box<Made>),
    Persistent(Id),
}

/// An object under construction.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) class: Global,
    pub(super) args: Id,
    pub(super) new: bool,
    pub(super) items: Vec<(Id, Id)>,
    pub(super) state: Option<Id>,
}

pub(super) type Step<T = ()> = Result<T, Refused>;

/// The machine: its program, its memory.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) allow: &'a Allow<'a>,
    pub(super) nodes: Vec<Node>,
    at: usize,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

const DAMAGED: &str =
    "the file is damaged, or no pickle of plain values; nothing in it was executed. Fetch or write it again";

/// The value of `bytes`.
pub(super) fn read(bytes: &[u8], allow: &Allow<'_>) -> Step<Value> {
    let mut machine = Machine {
        bytes,
        allow,
        nodes: Vec::new(),
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    if bytes.is_empty() {
        return Err(machine.fail("is empty"));
    }
    if bytes.len() > allow.limits.bytes {
        return Err(machine.too_large());
    }
    loop {
        let op = machine.byte()?;
        if op == b'.' {
            break;
        }
        machine.step(op)?;
    }
    if !machine.marks.is_empty() {
        return Err(machine.fail("the pickle ends inside a list"));
    }
    let root = machine.pop()?;
    super::tree::value(&machine, root)
}

impl Machine<'_> {
    /// An error at the present byte.
    pub(super) fn fail(&self, message: &str) -> Refused {
        Refused { message: format!("pickle, byte {}: {message}", self.at), hint: DAMAGED.into() }
    }

    /// The error of a pickle that becomes too large.
    pub(super) fn too_large(&self) -> Refused {
        let limits = self.allow.limits;
        Refused {
            message: format!(
                "pickle, byte {}: holds more than {} values or {} bytes",
                self.at, limits.items, limits.bytes
            ),
            hint:
                "a small file that unfolds to a large value is damaged or hostile; nothing in it was executed"
                    .into(),
        }
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// The next `N` bytes.
    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.fail("the pickle ends in the middle of an instruction")),
        }
    }

    /// The place of the next `n` bytes.
    fn range(&mut self, n: u64) -> Step<Range<usize>> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(n).ok().filter(|n| *n <= left) {
            Some(n) => {
                self.at += n;
                Ok(self.at - n..self.at)
            }
            None => Err(self.fail(&format!("a length of {n} bytes is given, but only {left} follow"))),
        }
    }

    /// The place of the rest of the line.
    fn line(&mut self) -> Step<Range<usize>> {
        let rest = &self.bytes[self.at..];
        match rest.iter().take(1 << 10).position(|b| *b == b'\n') {
            Some(n) => {
                self.at += n + 1;
                Ok(self.at - n - 1..self.at - 1)
            }
            None => Err(self.fail("the name of a global does not end")),
        }
    }

    /// The text at `range`.
    fn text(&self, range: &Range<usize>) -> Step<&str> {
        std::str::from_utf8(&self.bytes[range.clone()]).map_err(|_| self.fail("a text is not UTF-8"))
    }

    fn push(&mut self, node: Node) -> Step {
        if self.nodes.len() >= self.allow.limits.items {
            return Err(self.too_large());
        }
        self.push_id(self.nodes.len() as Id)?;
        self.nodes.push(node);
        Ok(())
    }

    fn push_id(&mut self, id: Id) -> Step {
        if self.stack.len() >= self.allow.limits.items {
            return Err(self.too_large());
        }
        self.stack.push(id);
        Ok(())
    }

    /// The last value, which must have been pushed after the last mark.
    fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop().filter(|_| self.stack.len() >= floor) {
            Some(id) => Ok(id),
            None => Err(self.fail("an instruction lacks its values")),
        }
    }

    /// The last value, left where it is.
    fn top(&mut self) -> Step<Id> {
        let id = self.pop()?;
        self.stack.push(id);
        Ok(id)
    }

    /// The values after the last mark.
    fn marked(&mut self) -> Step<Vec<Id>> {
        match self.marks.pop().filter(|mark| *mark <= self.stack.len()) {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.fail("an instruction lacks its mark")),
        }
    }

    fn node(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    fn step(&mut self, op: u8) -> Step {
        match op {
            0x80 => {
                let protocol = self.byte()?;
                let known = (2..=5).contains(&protocol);
                if known { Ok(()) } else { Err(self.fail(&format!("protocol {protocol} is not read"))) }
            }
            // frames only tell where to read ahead; the length is checked and otherwise without meaning
            0x95 => {
                let n = u64::from_le_bytes(self.array()?);
                let here = self.at;
                self.range(n)?;
                self.at = here;
                Ok(())
            }
            b'N' | 0x88 | 0x89 | b'K' | b'M' | b'J' | 0x8a | 0x8b | b'G' => self.number(op),
            b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | 0x8e => self.string(op),
            b']' | b')' | b'}' | 0x8f | b'(' => self.open(op),
            b't' | 0x85..=0x87 | b'l' | b'd' | 0x91 => self.close(op),
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(op),
            b'q' | b'r' | b'h' | b'j' | 0x94 | b'0' | b'1' | b'2' => self.memory(op),
            b'c' | 0x93 | b'R' | 0x81 | b'b' | b'Q' => self.call(op),
            _ if opcode::is_old(op) => Err(Refused {
                hint: "load it in Python and write it again with protocol 2 or later".into(),
                ..self.fail(&format!("instruction {} of protocols 0 and 1 is not read", opcode::name(op)))
            }),
            _ => Err(self.fail(&format!("{} ({op:#04x}) is not read", opcode::name(op)))),
        }
    }

    fn number(&mut self, op: u8) -> Step {
        let node = match op {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'K' => Node::Int(self.byte()?.into()),
            b'M' => Node::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Node::Int(i32::from_le_bytes(self.array()?).into()),
            b'G' => Node::Float(f64::from_be_bytes(self.array()?)),
            _ => {
                let n =
                    if op == 0x8a { self.byte()?.into() } else { u32::from_le_bytes(self.array()?).into() };
                let range = self.range(n)?;
                Node::Int(self.long(&self.bytes[range])?)
            }
        };
        self.push(node)
    }

    /// A whole number as little-endian two's complement.
    fn long(&self, digits: &[u8]) -> Step<i128> {
        let Some(last) = digits.last() else { return Ok(0) };
        let mut all = [if *last >= 0x80 { 0xff } else { 0 }; 16];
        match all.get_mut(..digits.len()) {
            Some(part) => part.copy_from_slice(digits),
            None => return Err(self.fail(&format!("a whole number of {} bytes is not read", digits.len()))),
        }
        Ok(i128::from_le_bytes(all))
    }

    fn string(&mut self, op: u8) -> Step {
        let n = match op {
            0x8c | b'U' | b'C' => self.byte()?.into(),
            b'X' | b'T' | b'B' => u32::from_le_bytes(self.array()?).into(),
            _ => u64::from_le_bytes(self.array()?),
        };
        let range = self.range(n)?;
        let is_text = match op {
            b'X' | 0x8c | 0x8d => {
                self.text(&range)?;
                true
            }
            // Python 2's texts, which may hold any bytes
            b'T' | b'U' => self.text(&range).is_ok(),
            _ => false,
        };
        self.push(if is_text { Node::Str(range) } else { Node::Bytes(range) })
    }

    fn open(&mut self, op: u8) -> Step {
        match op {
            b']' => self.push(Node::List(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            0x8f => self.push(Node::Set(Vec::new())),
            _ if self.marks.len() >= self.allow.limits.items => Err(self.too_large()),
            _ => {
                self.marks.push(self.stack.len());
                Ok(())
            }
        }
    }

    fn close(&mut self, op: u8) -> Step {
        let items = match op {
            0x85..=0x87 => {
                let mut items = (0..op - 0x84).map(|_| self.pop()).collect::<Step<Vec<_>>>()?;
                items.reverse();
                items
            }
            _ => self.marked()?,
        };
        let node = match op {
            b'l' => Node::List(items),
            b'd' => Node::Dict(self.pairs(&items)?),
            0x91 => Node::Set(items),
            _ => Node::Tuple(items),
        };
        self.push(node)
    }

    fn pairs(&self, items: &[Id]) -> Step<Vec<(Id, Id)>> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.fail("a key lacks its value"));
        }
        Ok(pairs.iter().map(|[k, v]| (*k, *v)).collect())
    }

    /// Puts values into the list, set, dictionary or object below them.
    fn fill(&mut self, op: u8) -> Step {
        let items = match op {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.marked()?,
        };
        let pairs = if op == b's' || op == b'u' { self.pairs(&items)? } else { Vec::new() };
        let target = self.top()?;
        match (op, self.node(target)) {
            (b'a' | b'e', Node::List(list)) | (0x90, Node::Set(list)) => list.extend(items),
            (b's' | b'u', Node::Dict(dict)) => dict.extend(pairs),
            (b's' | b'u', Node::Object(object)) => object.items.extend(pairs),
            _ => return Err(self.fail(&format!("{} has no container to put into", opcode::name(op)))),
        }
        Ok(())
    }

    fn memory(&mut self, op: u8) -> Step {
        let key = match op {
            b'q' | b'h' => self.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.array()?),
            _ => self.memo.len() as u32,
        };
        match op {
            b'q' | b'r' | 0x94 => {
                let id = self.top()?;
                if self.memo.len() >= self.allow.limits.items {
                    return Err(self.too_large());
                }
                self.memo.insert(key, id);
                Ok(())
            }
            b'h' | b'j' => match self.memo.get(&key) {
                Some(id) => self.push_id(*id),
                None => Err(self.fail(&format!("memo {key} was never set"))),
            },
            b'0' => self.pop().map(drop),
            b'1' => self.marked().map(drop),
            _ => {
                let id = self.top()?;
                self.push_id(id)
            }
        }
    }

    fn call(&mut self, op: u8) -> Step {
        match op {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.node(module).clone(), self.node(name).clone()) {
                    (Node::Str(module), Node::Str(name)) => self.global(&module, &name),
                    _ => Err(self.fail("the name of a global is no text")),
                }
            }
            b'Q' if self.allow.persistent => {
                let id = self.pop()?;
                self.push(Node::Persistent(id))
            }
            b'Q' => Err(self.fail("a persistent id, which is not allowed here")),
            b'b' => {
                let (state, object) = (self.pop()?, self.top()?);
                match self.node(object) {
                    Node::Object(object) => object.state = Some(state),
                    _ => return Err(self.fail("BUILD sets the state of something that is no object")),
                }
                Ok(())
            }
            _ => {
                let (args, class) = (self.pop()?, self.pop()?);
                self.made(class, args, op == 0x81)
            }
        }
    }

    /// Pushes a global that is allowed.
    fn global(&mut self, module: &Range<usize>, name: &Range<usize>) -> Step {
        let global = Global::new(self.text(module)?, self.text(name)?);
        let is_it = |(module, name): &(&str, &str)| global.is(module, name);
        if self.allow.named.iter().chain(self.allow.called).any(is_it) {
            return self.push(Node::Global(Box::new(global)));
        }
        Err(self.not_allowed(&format!("names {global}, which is not allowed here")))
    }

    /// Pushes what a call of `class` would have made.
    fn made(&mut self, class: Id, args: Id, new: bool) -> Step {
        let Node::Global(class) = self.node(class).clone() else {
            return Err(self.not_allowed("calls something that is no class"));
        };
        if !self.allow.called.iter().any(|(module, name)| class.is(module, name)) {
            return Err(self.not_allowed(&format!("calls {class}, which may be named but not called here")));
        }
        if !matches!(self.node(args), Node::Tuple(_)) {
            return Err(self.fail(&format!("calls {class} without a tuple of arguments")));
        }
        let made = Made { class: *class, args, new, items: Vec::new(), state: None };
        self.push(Node::Object(Box::new(made)))
    }

    /// The error of a global that is not on the list.
    fn not_allowed(&self, message: &str) -> Refused {
        let known = self.allow.named.iter().chain(self.allow.called);
        let known: Vec<String> = known.map(|(module, name)| format!("{module}.{name}")).collect();
        let list = if known.is_empty() { "none at all".into() } else { known.join(", ") };
        Refused {
            hint: format!(
                "a pickle can run any program when Python loads it; here nothing is executed, and of all globals only these are read: {list}"
            ),
            ..self.fail(message)
        }
    }
}
