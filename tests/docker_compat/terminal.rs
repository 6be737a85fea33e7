//! Containers on a terminal: the stock CLI with a person in front of it.

use sheave_tests::pty::Terminal;
use sheave_tests::registry::Registry;
use sheave_tests::{Engine, Sandbox};

#[test]
fn c3_a_terminal_is_resized_detached_and_attached_again() {
    let sandbox = Sandbox::new("c3");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    let on_terminal = |line: &str| {
        let mut command = engine.client("docker");
        command.args(line.split(' '));
        Terminal::start(command, 33, 77)
    };
    let mut terminal = on_terminal("run -it --name term busybox sh");
    terminal.expect("/ #");
    // The size is sent after the start, so the first answer may come too early.
    sheave_tests::eventually("the size of the terminal", std::time::Duration::from_secs(10), || {
        terminal.send("stty size\n");
        sheave_tests::pause(std::time::Duration::from_millis(200));
        terminal.shown().contains("33 77").then_some(())
    });
    terminal.resize(44, 99);
    sheave_tests::eventually("the new size", std::time::Duration::from_secs(10), || {
        terminal.send("stty size\n");
        sheave_tests::pause(std::time::Duration::from_millis(200));
        terminal.shown().contains("44 99").then_some(())
    });
    terminal.send("echo before-$((40 + 2))\n");
    terminal.expect("before-42");
    terminal.send("\x10\x11");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(engine.inspect("term", "{{.State.Running}}"), "true");

    let mut terminal = on_terminal("attach term");
    terminal.send("echo again-$((40 + 3))\n");
    terminal.expect("again-43");
    terminal.send("exit 6\n");
    let (code, shown) = terminal.end();
    assert_eq!(code, 6, "{shown}");
    assert_eq!(engine.inspect("term", "{{.State.Status}} {{.State.ExitCode}}"), "exited 6");

    engine.d("start term").ok();
    let mut terminal = on_terminal("exec -it term sh");
    terminal.expect("/ #");
    terminal.send("tty; exit 8\n");
    terminal.expect("/dev/pts/");
    assert_eq!(terminal.end().0, 8);
    let terminal = on_terminal("exec -t term sh -c [[space]]".replace("[[space]]", "tty").as_str());
    let (code, shown) = terminal.end();
    assert!(code == 0 && shown.contains("/dev/pts/"), "{code} {shown}");
    let mut terminal = on_terminal("attach --detach-keys ctrl-a,d term");
    terminal.send("\n");
    terminal.expect("/ #");
    terminal.send("\x01d");
    // The CLI gives 1 and the reason here, and 0 for a detached `run`.
    let (code, shown) = terminal.end();
    assert!(code == 1 && shown.contains("read escape sequence"), "{code} {shown}");
    assert_eq!(engine.inspect("term", "{{.State.Running}}"), "true");
}
