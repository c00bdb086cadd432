//! `ablate/prediction`: the most likely next tokens.

use serde::Serialize;

/// The next tokens of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PredictReport {
    /// Ids of the prompt.
    pub tokens: Vec<u32>,
    /// Their texts, where there is a tokenizer.
    pub texts: Option<Vec<String>>,
    /// What follows the last position asked for, most likely first.
    pub top: Vec<TopToken>,
    /// The same for every position asked for, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<At>,
}

/// The next tokens of one position.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct At {
    /// The position.
    pub position: usize,
    /// Most likely first.
    pub top: Vec<TopToken>,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopToken {
    /// Its text; its id where there is no tokenizer.
    pub token: String,
    /// Its id.
    pub id: u32,
    /// Its logit.
    pub logit: f64,
    /// Its probability.
    pub probability: f64,
}

impl TopToken {
    /// The `n` most likely tokens of `logits`; `text` names an id. Ties go to the smaller id.
    pub fn of(logits: &[f64], n: usize, text: impl Fn(u32) -> String) -> Vec<Self> {
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        let most = ids.first().map_or(0.0, |&i| logits[i as usize]);
        let sum: f64 = logits.iter().map(|x| (x - most).exp()).sum();
        let row = |id: u32| {
            let logit = logits[id as usize];
            Self { token: text(id), id, logit, probability: (logit - most).exp() / sum }
        };
        ids.into_iter().take(n).map(row).collect()
    }
}
