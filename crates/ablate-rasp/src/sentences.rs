//! The inputs that a program is asked about, where not every list of tokens makes sense.

use crate::value::Value;

/// Sentences: templates whose places are filled from pools of tokens.
///
/// In a sentence a name stands for the same token wherever it appears, and two names of one pool for different tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sentences {
    pub(crate) pools: Vec<Pool>,
    pub(crate) templates: Vec<Vec<Place>>,
}

/// Tokens, and the names that stand for one of them each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pool {
    pub(crate) names: Vec<String>,
    pub(crate) tokens: Vec<Value>,
}

/// One place of a template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    Token(Value),
    /// The `name`-th name of the `pool`-th pool.
    Pick {
        pool: usize,
        name: usize,
    },
}

impl Pool {
    /// Number of ways to give its names different tokens; `None` if it does not fit.
    fn ways(&self) -> Option<usize> {
        let n = self.tokens.len();
        (0..self.names.len()).try_fold(1_usize, |ways, taken| ways.checked_mul(n.saturating_sub(taken)))
    }

    /// The `at`-th way.
    fn way(&self, mut at: usize) -> Vec<&Value> {
        let mut left: Vec<&Value> = self.tokens.iter().collect();
        let mut way = Vec::with_capacity(self.names.len());
        for _ in &self.names {
            let n = left.len();
            way.push(left.remove(at % n));
            at /= n;
        }
        way
    }
}

impl Sentences {
    /// Number of sentences; `None` if they are too many to count.
    pub(crate) fn checked_count(&self) -> Option<usize> {
        self.templates.iter().try_fold(0_usize, |all, template| all.checked_add(self.fillings(template)?))
    }

    /// Number of sentences.
    pub fn count(&self) -> usize {
        // the reader of programs has refused what cannot be counted
        self.checked_count().unwrap_or(0)
    }

    /// Ways to fill one template.
    fn fillings(&self, template: &[Place]) -> Option<usize> {
        self.used(template).try_fold(1_usize, |all, (_, pool)| all.checked_mul(pool.ways()?))
    }

    /// The pools that a template takes tokens from.
    fn used<'a>(&'a self, template: &'a [Place]) -> impl Iterator<Item = (usize, &'a Pool)> {
        let takes = |of: usize| template.iter().any(|p| matches!(p, Place::Pick { pool, .. } if *pool == of));
        self.pools.iter().enumerate().filter(move |(i, _)| takes(*i))
    }

    /// The tokens of sentence `at`; templates come one after the other. `None` from [`Self::count`] on.
    pub fn nth(&self, at: usize) -> Option<Vec<Value>> {
        let mut rest = at;
        let mut templates = self.templates.iter();
        let template = loop {
            let template = templates.next()?;
            let fillings = self.fillings(template)?;
            if rest < fillings {
                break template;
            }
            rest -= fillings;
        };
        let mut ways: Vec<Vec<&Value>> = vec![Vec::new(); self.pools.len()];
        for (i, pool) in self.used(template) {
            let n = pool.ways()?;
            ways[i] = pool.way(rest % n);
            rest /= n;
        }
        let token = |place: &Place| match place {
            Place::Token(token) => token.clone(),
            Place::Pick { pool, name } => ways[*pool][*name].clone(),
        };
        Some(template.iter().map(token).collect())
    }
}
