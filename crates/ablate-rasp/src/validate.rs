//! Which programs can be compiled: refused here, by the name of the node, before any block is built.

use crate::error::Error;
use crate::graph::{Expr, Graph};
use crate::infer::Values;
use crate::sop::{Encoding, Selector, SelectorKind, Sop, SopKind};
use crate::value::Value;

pub(crate) fn validate(graph: &Graph, values: &Values) -> Result<(), Error> {
    for (i, node) in graph.nodes.iter().enumerate() {
        let check = Check { label: &node.label, expr: &node.expr };
        match &node.expr {
            Expr::Sop(sop) => {
                check.sop(sop)?;
                check.sizes(sop, graph, values, i)?;
            }
            Expr::Selector(selector) => check.selector(selector)?,
        }
    }
    if graph.nodes[0].children.is_empty() {
        let message = "it computes nothing; use map(x -> x, …) to copy a source".to_owned();
        return Err(Error::NotCompilable {
            node: graph.nodes[0].label.clone(),
            message,
            place: graph.nodes[0].expr.place(),
        });
    }
    Ok(())
}

struct Check<'a> {
    label: &'a str,
    expr: &'a Expr,
}

impl Check<'_> {
    fn refuse(&self, message: &str) -> Result<(), Error> {
        Err(Error::NotCompilable {
            node: self.label.to_owned(),
            message: message.to_owned(),
            place: self.expr.place(),
        })
    }

    fn need(&self, what: &str, sop: &Sop, encoding: Encoding) -> Result<(), Error> {
        if sop.encoding() == encoding {
            return Ok(());
        }
        let (is, wanted) = (sop.encoding().name(), encoding.name());
        let message = format!("needs {what} `{}` to be {wanted}, but it is {is}", sop.name());
        Err(Error::Encoding { node: self.label.to_owned(), message, place: self.expr.place() })
    }

    fn sop(&self, sop: &Sop) -> Result<(), Error> {
        use Encoding::{Categorical, Numerical};
        match &sop.node().kind {
            SopKind::Tokens | SopKind::Indices => self.need("its own encoding", sop, Categorical),
            SopKind::Length => self.refuse("the primitive `length` has no transformer; count with selector_width(select(tokens, tokens, true))"),
            SopKind::Full(_) => self.refuse("a constant sequence has no transformer"),
            SopKind::Map { .. } | SopKind::Width(_) => Ok(()),
            SopKind::SequenceMap { a, b, .. } => {
                self.need("its first input", a, Categorical)?;
                self.need("its second input", b, Categorical)?;
                self.need("its output", sop, Categorical)
            }
            SopKind::Linear { a, b, .. } => {
                self.need("its first input", a, Numerical)?;
                self.need("its second input", b, Numerical)?;
                self.need("its output", sop, Numerical)
            }
            SopKind::Aggregate { sop: inner, default, .. } => {
                self.need("its values", inner, sop.encoding())?;
                self.need("its output", sop, inner.encoding())?;
                match (sop.encoding(), default) {
                    (Categorical, None) => Ok(()),
                    (Categorical, Some(_)) => self.refuse("a categorical aggregate has no default"),
                    (Numerical, Some(v)) if *v == Value::Int(0) => Ok(()),
                    (Numerical, _) => self.refuse("the default of a numerical aggregate is 0"),
                }
            }
        }
    }

    fn selector(&self, selector: &Selector) -> Result<(), Error> {
        match &selector.node().kind {
            SelectorKind::Select { keys, queries, .. } => {
                self.need("its keys", keys, Encoding::Categorical)?;
                self.need("its queries", queries, Encoding::Categorical)
            }
            SelectorKind::And(..) => {
                self.refuse("`and` of selectors needs both over the same keys and queries")
            }
            SelectorKind::Or(..) => {
                self.refuse("`or` of selectors needs both over the same keys and queries")
            }
            SelectorKind::Not(..) => self.refuse("`not` needs a selector that is one select"),
        }
    }

    /// Refusals that depend on the values: empty sequences, negative and non-numerical numerical values.
    fn sizes(&self, sop: &Sop, graph: &Graph, values: &Values, node: usize) -> Result<(), Error> {
        let own = values.of(node);
        if own.is_empty() {
            return self.refuse("it never has a value");
        }
        if sop.encoding() == Encoding::Categorical {
            return Ok(());
        }
        if let Some(v) = own.iter().find(|v| v.as_number().is_none()) {
            return self.refuse(&format!(
                "a numerical sequence cannot hold {} {}",
                v.type_name(),
                v.quoted()
            ));
        }
        match &sop.node().kind {
            SopKind::Map { inner, .. } if inner.encoding() == Encoding::Categorical => {
                match own.iter().find(|v| v.as_number() < Some(0.0)) {
                    Some(v) => self.refuse(&format!(
                        "its value {v} is negative, and the ReLU of a map to numbers cuts it to 0"
                    )),
                    None => Ok(()),
                }
            }
            SopKind::Aggregate { .. } => {
                let inner = values.of(graph.nodes[node].children[1]);
                match inner.iter().find(|v| **v != Value::Int(0) && **v != Value::Int(1)) {
                    Some(v) => {
                        self.refuse(&format!("a numerical aggregate averages zeros and ones, not {v}"))
                    }
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
