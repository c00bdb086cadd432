//! Pairs of nodes: the naive second difference, and a name for what a pair shows.

use super::{Fit, Losses, Measured};
use crate::error::{Error, Result};

/// What a pair of nodes shows. `joint` is the fit's term of both (the naive difference where the degree is below 2),
/// `average` is what ablating one adds to the fitted loss over all subsets of the others, `alone` what it adds when nothing
/// else is ablated. A number counts if it is above 2 standard errors and above `1e-9` of the largest change of the loss.
///
/// | joint | single nodes | name |
/// |---|---|---|
/// | does not count | any | independent |
/// | counts | on average one hurts and one helps | opposed |
/// | above 0 | alone, one hurts and the other does not | backup (the other is) |
/// | above 0 | otherwise | redundant |
/// | below 0 | any | series |
///
/// Where on average one helps and none hurts, both work against the behaviour: all signs are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What both do together is the sum.
    Independent,
    /// Either does the work of both: it takes both ablations to see it.
    Redundant,
    /// One does the work, the other takes over when it is ablated.
    Backup {
        /// Whether the second of the pair is the backup, not the first.
        second: bool,
    },
    /// Both are needed by the same work: ablating one already does it.
    Series,
    /// One works for the behaviour, the other against it, and one acts through the other.
    Opposed,
}

impl Kind {
    /// The name users read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Redundant => "redundant",
            Self::Backup { .. } => "backup",
            Self::Series => "series",
            Self::Opposed => "opposed",
        }
    }
}

/// A pair of nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Which nodes, the first below the second.
    pub nodes: [usize; 2],
    /// `v(ab) − v(a) − v(b) + v(∅)`.
    pub naive: Measured,
    /// `v(a) − v(∅)` and `v(b) − v(∅)`.
    pub alone: [Measured; 2],
    /// [`Fit::average`] of both.
    pub average: [Measured; 2],
    /// The fit's term, or the naive difference where the degree is below 2.
    pub joint: Measured,
    /// What it shows.
    pub kind: Kind,
}

/// All pairs, in the order of combinations.
///
/// # Errors
/// A design without single nodes or pairs.
pub fn pairs(losses: &Losses, fit: &Fit) -> Result<Vec<Pair>> {
    let least = 1e-9 * losses.scale();
    let k = losses.design.k;
    let both = (0..k).flat_map(|a| (a + 1..k).map(move |b| [a, b]));
    both.map(|nodes| pair(losses, fit, nodes, least)).collect()
}

fn pair(losses: &Losses, fit: &Fit, nodes: [usize; 2], least: f64) -> Result<Pair> {
    let missing = || Error::argument("a pair was not run", "use a design of all subsets of up to two nodes");
    let [a, b] = nodes.map(|i| 1u64 << i);
    let of = |s: u64| losses.of(s).ok_or_else(missing);
    let (none, va, vb, vab) = (of(0)?, of(a)?, of(b)?, of(a | b)?);
    let each = |f: &dyn Fn(usize) -> f64| Measured::of(&(0..none.len()).map(f).collect::<Vec<f64>>());
    let naive = each(&|e| vab[e] - va[e] - vb[e] + none[e]);
    let alone = [each(&|e| va[e] - none[e]), each(&|e| vb[e] - none[e])];
    let joint = fit.of(a | b).unwrap_or(naive);
    let average = nodes.map(|i| fit.average(i));
    Ok(Pair { nodes, naive, alone, average, joint, kind: kind(joint, average, alone, least) })
}

/// The rule of [`Kind`].
fn kind(joint: Measured, average: [Measured; 2], alone: [Measured; 2], least: f64) -> Kind {
    let sign = |m: Measured| {
        let counts = m.value.abs() > 2.0 * m.std_err && m.value.abs() > least;
        if counts { m.value.signum() as i8 } else { 0 }
    };
    let (joint, [a, b], alone) = (sign(joint), average.map(sign), alone.map(sign));
    let turn = if a <= 0 && b <= 0 && a + b < 0 { -1 } else { 1 };
    match turn * joint {
        0 => Kind::Independent,
        _ if a * b < 0 => Kind::Opposed,
        1 => match alone.map(|x| turn * x > 0) {
            [true, false] => Kind::Backup { second: true },
            [false, true] => Kind::Backup { second: false },
            _ => Kind::Redundant,
        },
        _ => Kind::Series,
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Measured, kind};

    #[test]
    fn names_follow_the_rule() {
        let m = |value: f64| Measured { value, std_err: 0.1 };
        let (first, second) = (Kind::Backup { second: false }, Kind::Backup { second: true });
        for (joint, average, alone, wanted) in [
            (0.1, [1.0, 1.0], [1.0, 1.0], Kind::Independent),
            (1.0, [0.5, 0.5], [0.0, 0.1], Kind::Redundant),
            (1.0, [0.5, 0.5], [-1.0, -1.0], Kind::Redundant),
            (1.0, [1.5, 1.0], [1.0, 0.5], Kind::Redundant),
            (1.0, [1.5, 0.5], [1.0, 0.1], second),
            (1.0, [0.5, 1.5], [-1.0, 1.0], first),
            (-1.0, [0.5, 0.5], [1.0, 1.0], Kind::Series),
            (-1.0, [0.5, 1.5], [-1.0, 1.0], Kind::Series),
            (1.0, [-1.0, 1.0], [-1.0, 1.0], Kind::Opposed),
            (-1.0, [1.0, -1.0], [1.0, 0.0], Kind::Opposed),
            (1.0, [-1.0, -1.0], [-1.0, -1.0], Kind::Series),
            (-1.0, [-1.0, -1.0], [0.0, 0.0], Kind::Redundant),
            (-1.0, [-1.0, -0.5], [-1.0, 0.0], second),
        ] {
            assert_eq!(
                kind(m(joint), average.map(m), alone.map(m), 0.0),
                wanted,
                "{joint} {average:?} {alone:?}"
            );
        }
        let tiny = Measured { value: 1e-12, std_err: 0.0 };
        assert_eq!(kind(tiny, [m(1.0); 2], [m(1.0); 2], 1e-9), Kind::Independent);
    }
}
