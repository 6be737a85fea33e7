//! Start, output, exit.

use crate::harness::*;

#[test]
fn echo() {
    let done = Bench::new(&["echo", "hello"]).run();
    assert_eq!((done.stdout.as_str(), done.stderr.as_str(), done.exit.code), ("hello\n", "", 0));
    assert_eq!(done.warnings, Vec::<String>::new());
    let line: serde_json::Value = serde_json::from_str(&done.log).expect("one line");
    assert_eq!((line["log"].as_str(), line["stream"].as_str()), (Some("hello\n"), Some("stdout")));
}
