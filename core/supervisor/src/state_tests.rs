//! Tables and properties of the lifecycle.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn exit(code: i32) -> Exit {
    Exit {
        code,
        started: Timestamp::from_nanos(1),
        finished: Timestamp::from_nanos(2),
        oom_killed: false,
        ending: Ending::ByItself,
        error: String::new(),
        restarts: 0,
    }
}

fn run() -> Run {
    Run { pid: 7, started: Timestamp::from_nanos(1), ending: Ending::ByItself, attempt: Attempt::default() }
}

fn every_state() -> Vec<State> {
    vec![
        State::default(),
        State::Starting { from: Rest::Created, attempt: Attempt::default() },
        State::Starting { from: Rest::Exited(exit(1)), attempt: Attempt::default() },
        State::Running(run()),
        State::Paused(run()),
        State::Restarting { until: Timestamp::from_nanos(9), last: exit(1), attempt: Attempt::default() },
        State::Exited(exit(0)),
        State::Removing { last: None },
        State::Dead { last: None, reason: "busy".into() },
        State::Gone { last: None },
    ]
}

fn end_input(code: i32, at: i64, policy: Policy) -> Input {
    Input::Ended { code, at: Timestamp::from_nanos(at), oom_killed: false, error: String::new(), policy }
}

#[test]
fn client_requests_in_every_state() {
    use Denied::*;
    // start, stop, kill, pause, unpause, remove; None is accepted.
    let table: [(&str, [Option<Denied>; 6]); 10] = [
        ("created", [None, Some(AlreadyStopped), Some(NotRunning), Some(NotRunning), Some(NotRunning), None]),
        (
            "created",
            [
                Some(AlreadyStarted),
                Some(AlreadyStopped),
                Some(NotRunning),
                Some(NotRunning),
                Some(NotRunning),
                Some(MustStop),
            ],
        ),
        (
            "exited",
            [
                Some(AlreadyStarted),
                Some(AlreadyStopped),
                Some(NotRunning),
                Some(NotRunning),
                Some(NotRunning),
                Some(MustStop),
            ],
        ),
        ("running", [Some(AlreadyStarted), None, None, None, Some(NotPaused), Some(MustStop)]),
        ("paused", [Some(IsPaused), None, None, Some(AlreadyPaused), None, Some(IsPaused)]),
        ("restarting", [Some(AlreadyStarted), None, None, Some(IsRestarting), Some(NotPaused), Some(MustStop)]),
        ("exited", [None, Some(AlreadyStopped), Some(NotRunning), Some(NotRunning), Some(NotRunning), None]),
        (
            "removing",
            [
                Some(RemovalInProgress),
                Some(AlreadyStopped),
                Some(NotRunning),
                Some(NotRunning),
                Some(NotRunning),
                Some(RemovalInProgress),
            ],
        ),
        ("dead", [Some(IsDead), Some(AlreadyStopped), Some(NotRunning), Some(NotRunning), Some(NotRunning), None]),
        (
            "removing",
            [
                Some(IsDead),
                Some(AlreadyStopped),
                Some(NotRunning),
                Some(NotRunning),
                Some(NotRunning),
                Some(RemovalInProgress),
            ],
        ),
    ];
    for (state, (status, answers)) in every_state().iter().zip(table) {
        assert_eq!(state.status(), status);
        let inputs = [
            Input::Start,
            Input::Stop { signal: 15 },
            Input::Kill { signal: 9, ends: true },
            Input::Pause,
            Input::Unpause,
            Input::Remove,
        ];
        for (input, expected) in inputs.into_iter().zip(answers) {
            assert_eq!(step(state, input.clone()).err(), expected, "{state:?} {input:?}");
        }
    }
}

#[test]
fn backoff_doubles_to_a_minute_and_resets_after_ten_seconds() {
    let mut attempt = Attempt::default();
    let delays: Vec<_> = (0..12)
        .map(|_| {
            attempt = attempt.next(Duration::from_secs(1));
            attempt.delay.as_millis()
        })
        .collect();
    assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
    assert_eq!(attempt.next(BACKOFF_RESET).delay, BACKOFF_MIN);
    assert_eq!(attempt.restarts, 12);
}

#[test]
fn policies() {
    for (policy, code, restarts, again) in [
        (Policy::No, 1, 0, false),
        (Policy::Always, 0, 9, true),
        (Policy::UnlessStopped, 0, 9, true),
        (Policy::OnFailure(0), 1, 99, true),
        (Policy::OnFailure(0), 0, 0, false),
        (Policy::OnFailure(2), 1, 1, true),
        (Policy::OnFailure(2), 1, 2, false),
    ] {
        let mut running = run();
        running.attempt.restarts = restarts;
        let (next, effects) = step(&State::Running(running), end_input(code, 5, policy)).unwrap();
        assert_eq!(matches!(next, State::Restarting { .. }), again, "{policy:?} {code} {restarts}");
        assert_eq!(effects[..2], [Effect::Announce(Happening::Die), Effect::TakeDown]);
        assert_eq!(effects.len() == 3, again);
    }
}

#[test]
fn a_stop_beats_every_policy() {
    for policy in [Policy::Always, Policy::UnlessStopped, Policy::OnFailure(0)] {
        let (state, _) = step(&State::Running(run()), Input::Stop { signal: 15 }).unwrap();
        let (state, _) = step(&state, end_input(143, 5, policy)).unwrap();
        let State::Exited(exit) = &state else { panic!("{state:?}") };
        assert_eq!(exit.ending, Ending::Asked);
        assert_eq!(policy.at_boot(exit), policy == Policy::Always);
    }
    let waiting = State::Restarting { until: Timestamp::from_nanos(9), last: exit(1), attempt: Attempt::default() };
    let (state, effects) = step(&waiting, Input::Stop { signal: 15 }).unwrap();
    assert!(matches!(state, State::Exited(_)));
    assert_eq!(effects, [Effect::Disarm]);
}

#[test]
fn a_failed_start_returns_to_where_it_was() {
    let failure = Failure { code: 127, message: "no".into() };
    let (starting, _) = step(&State::default(), Input::Start).unwrap();
    let (state, _) = step(&starting, Input::Failed(failure.clone())).unwrap();
    assert_eq!(state, State::Created { failure: Some(failure.clone()) });
    let (starting, _) = step(&State::Exited(exit(0)), Input::Start).unwrap();
    let (state, _) = step(&starting, Input::Failed(failure)).unwrap();
    assert!(matches!(state, State::Exited(Exit { code: 127, ref error, .. }) if error == "no"));
}

fn inputs() -> impl Strategy<Value = Input> {
    let policy = prop_oneof![
        Just(Policy::No),
        Just(Policy::Always),
        Just(Policy::UnlessStopped),
        (0u32..4).prop_map(Policy::OnFailure)
    ];
    prop_oneof![
        Just(Input::Start),
        Just(Input::Due),
        (1i32..9, 1i64..1_000).prop_map(|(pid, at)| Input::Started { pid, at: Timestamp::from_nanos(at) }),
        Just(Input::Failed(Failure { code: 128, message: "x".into() })),
        (0i32..3, 1i64..1_000, any::<bool>(), policy).prop_map(|(code, at, oom_killed, policy)| Input::Ended {
            code,
            at: Timestamp::from_nanos(at),
            oom_killed,
            error: String::new(),
            policy
        }),
        (1i32..16).prop_map(|signal| Input::Stop { signal }),
        (1i32..16, any::<bool>()).prop_map(|(signal, ends)| Input::Kill { signal, ends }),
        Just(Input::Pause),
        Just(Input::Unpause),
        Just(Input::Remove),
        Just(Input::Removed),
        Just(Input::Stuck { reason: "busy".into() }),
    ]
}

proptest! {
    /// A model beside the machine: how many set-ups, processes, timers and deletions are going on.
    #[test]
    fn effects_balance(sequence in prop::collection::vec(inputs(), 0..60)) {
        let mut state = State::default();
        let (mut setups, mut processes, mut timers, mut deletions, mut frozen) = (0i32, 0i32, 0i32, 0i32, false);
        for input in sequence {
            let Ok((next, effects)) = step(&state, input.clone()) else { continue };
            match input {
                Input::Started { .. } => { setups -= 1; processes += 1; }
                Input::Failed(_) => setups -= 1,
                Input::Ended { .. } => { processes -= 1; frozen = false; }
                Input::Due => timers -= 1,
                Input::Removed | Input::Stuck { .. } => deletions -= 1,
                _ => {}
            }
            for effect in &effects {
                match effect {
                    Effect::SetUp => setups += 1,
                    Effect::Arm(_) => timers += 1,
                    Effect::Disarm => timers -= 1,
                    Effect::Delete => deletions += 1,
                    Effect::Freeze => { prop_assert!(!frozen); frozen = true; }
                    Effect::Thaw => { prop_assert!(frozen); frozen = false; }
                    Effect::Signal(_) => prop_assert_eq!(processes, 1),
                    _ => {}
                }
            }
            prop_assert_eq!(setups, i32::from(matches!(next, State::Starting { .. })));
            prop_assert_eq!(processes, i32::from(next.run().is_some()));
            prop_assert_eq!(timers, i32::from(matches!(next, State::Restarting { .. })));
            prop_assert_eq!(deletions, i32::from(matches!(next, State::Removing { .. })));
            prop_assert_eq!(frozen, matches!(next, State::Paused(_)));
            if matches!(state, State::Gone { .. }) {
                prop_assert!(false, "left Gone");
            }
            state = next;
        }
    }

    #[test]
    fn stored_as_it_was(sequence in prop::collection::vec(inputs(), 0..30)) {
        let mut state = State::default();
        for input in sequence {
            if let Ok((next, _)) = step(&state, input) { state = next; }
            let text = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), &state);
        }
    }
}
