//! From the machine's list of nodes to a plain value: shared nodes are copied, and counted as often as they are used, so
//! that a value which refers to itself or doubles at every step is refused.

use super::machine::{Id, Machine, Node, Step};
use super::{MAX_DEPTH, Object, Value};

/// The value of node `root`.
pub(super) fn value(machine: &Machine<'_>, root: Id) -> Step<Value> {
    Walk { machine, items: 0, bytes: 0 }.value(root, 0)
}

struct Walk<'m, 'a> {
    machine: &'m Machine<'a>,
    items: usize,
    bytes: usize,
}

impl Walk<'_, '_> {
    /// Recurses, but never deeper than [`MAX_DEPTH`].
    fn value(&mut self, id: Id, depth: usize) -> Step<Value> {
        let machine = self.machine;
        let node = &machine.nodes[id as usize];
        self.count(node)?;
        if depth >= MAX_DEPTH {
            return Err(machine.fail(&format!("values are nested more than {MAX_DEPTH} deep")));
        }
        let next = depth + 1;
        Ok(match node {
            Node::None => Value::None,
            Node::Bool(x) => Value::Bool(*x),
            Node::Int(x) => Value::Int(*x),
            Node::Float(x) => Value::Float(*x),
            Node::Str(range) => {
                Value::Str(String::from_utf8_lossy(&machine.bytes[range.clone()]).into_owned())
            }
            Node::Bytes(range) => Value::Bytes(machine.bytes[range.clone()].to_vec()),
            Node::List(items) => Value::List(self.list(items, next)?),
            Node::Tuple(items) => Value::Tuple(self.list(items, next)?),
            Node::Set(items) => Value::Set(self.list(items, next)?),
            Node::Dict(pairs) => Value::Dict(self.pairs(pairs, next)?),
            Node::Global(global) => Value::Global((**global).clone()),
            Node::Persistent(id) => Value::Persistent(Box::new(self.value(*id, next)?)),
            Node::Object(made) => {
                let args = match self.value(made.args, next)? {
                    Value::Tuple(args) => args,
                    other => vec![other],
                };
                let items = self.pairs(&made.items, next)?;
                let state = made.state.map(|id| self.value(id, next)).transpose()?;
                Value::Object(Box::new(Object {
                    class: made.class.clone(),
                    args,
                    new: made.new,
                    items,
                    state,
                }))
            }
        })
    }

    fn count(&mut self, node: &Node) -> Step {
        self.items += 1;
        self.bytes += match node {
            Node::Str(range) | Node::Bytes(range) => range.len(),
            Node::Global(global) => global.module.len() + global.name.len(),
            Node::Object(made) => made.class.module.len() + made.class.name.len(),
            _ => 0,
        };
        let limits = self.machine.allow.limits;
        let fits = self.items <= limits.items && self.bytes <= limits.bytes;
        if fits { Ok(()) } else { Err(self.machine.too_large()) }
    }

    fn list(&mut self, items: &[Id], depth: usize) -> Step<Vec<Value>> {
        items.iter().map(|id| self.value(*id, depth)).collect()
    }

    fn pairs(&mut self, pairs: &[(Id, Id)], depth: usize) -> Step<Vec<(Value, Value)>> {
        pairs.iter().map(|(k, v)| Ok((self.value(*k, depth)?, self.value(*v, depth)?))).collect()
    }
}
