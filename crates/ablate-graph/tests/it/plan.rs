use ablate_graph::{Edit, Plan, Positions, Side, Site, Source};

use crate::common::gpt2;

#[test]
fn plans_in_words() {
    let g = gpt2();
    let edit = |name: &str, source, scale| {
        let place = g.parse_place(name).unwrap();
        Edit { site: place.site, positions: place.positions, source, scale }
    };
    let mut plan = Plan::on(Side::Clean)
        .edit(edit("a3.h5->a7.h9<q>@end", Source::Resample, 1.0))
        .edit(edit("m3", Source::Zero, 1.0))
        .edit(edit("blocks.3.hook_resid_pre", Source::Given(2), 0.5))
        .edit(Edit {
            positions: Positions::At(vec![0, 2]),
            ..edit("m3.n120", Source::ResampleOther { seed: 7 }, 1.0)
        });
    for head in [3, 1, 4, 0, 5] {
        plan = plan.replace(Site::Node(ablate_graph::Node::head(9, head)), Source::MeanPositional);
    }
    insta::assert_snapshot!(plan.to_string(), @r#"
    run on clean, norms recomputed, 9 edits
      a3.h5->a7.h9<q>@end = resample
      m3 = zero
      resid-pre.3 = 0.5 × table 2
      m3.n120@0,2 = resample-other (seed 7)
      a9.h3 = mean-positional
      a9.h1 = mean-positional
      a9.h4 = mean-positional
      a9.h0 = mean-positional
      a9.h5 = mean-positional
    "#);
    insta::assert_snapshot!(plan.explain(), @r#"
    run on clean, norms recomputed, 9 edits
      1 MLP at all = zero: m3
      1 edge at end = resample: a3.h5->a7.h9<q>
      5 heads at all = mean-positional: a9.h0, a9.h1, a9.h3, a9.h4, …
      1 neuron at 0,2 = resample-other (seed 7): m3.n120
      1 residual stream at all = 0.5 × table 2: resid-pre.3
    "#);
    insta::assert_snapshot!(Plan::on(Side::Corrupt).explain(), @r#"run on corrupt, norms recomputed, no edits: the plain forward pass"#);
}
