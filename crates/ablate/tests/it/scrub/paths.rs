//! Paths as text.

use ablate::scrub::Path;

#[test]
fn paths_are_read_from_the_end() {
    let path = Path::parse("a0.h2@B1 -[mlps except m1]-> a2.h1@end<k,v>@!B1 -> logits@end").unwrap();
    assert_eq!(path.end.as_deref(), Some("logits"));
    let [last, first] = &path.hops[..] else { panic!("{path:?}") };
    assert_eq!((last.nodes.as_str(), last.slots.len(), last.through.is_none()), ("a2.h1", 0, true));
    assert!(last.reads_at.is_some() && last.sent_at.as_ref().is_some_and(|w| !w.except));
    assert_eq!((first.nodes.as_str(), first.slots.join("")), ("a0.h2", "kv".into()));
    assert!(first.reads_at.as_ref().is_some_and(|w| w.except));
    assert_eq!(first.through.as_ref().unwrap().except.as_deref(), Some("m1"));
    let relative = Path::parse("a0.h2 -> <k>").unwrap();
    assert_eq!((relative.end, relative.hops.len()), (None, 1));
}

#[test]
fn what_is_no_path_is_refused() {
    for text in [
        "a0.h2",
        "-> logits",
        "a -[b-> logits",
        "a<q> -> logits",
        "a -> b<q",
        "a -> b<q>x -> c",
        "a@!all -> b",
        "a -> logits@3<in>",
        "",
    ] {
        assert!(Path::parse(text).is_err(), "{text}");
    }
}
