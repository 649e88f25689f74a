//! Lines that are no good are refused by number and reason, and hold up nobody.

use crate::harness::house::House;

#[test]
fn bad_lines_are_refused_with_number_and_reason_and_the_others_go_on() {
    let house = House::with("", "max_body = \"1KiB\"", "");
    let _receiver = house.receiver();
    let _bridge = house.ready_bridge();
    let long = "x".repeat(1_025);
    let lines = [
        r#"{"body":"1"}"#,
        r#"{"body":"#,
        r#"{"body":"2","route":"lamsp"}"#,
        &format!(r#"{{"body":"{long}"}}"#),
        r#"{"body":"3","deadline":"2001-01-01T00:00:00Z"}"#,
        "",
        r#"{"body":"2","key":"order-17"}"#,
        r#"{"body":"another","key":"order-17"}"#,
        r#"{"body":"3","deadline":"10m"}"#,
        r#"{"boddy":"x"}"#,
    ];
    let file = house.write("lines.ndjson", lines.join("\n").as_bytes());
    let ended = house.enqueue(&file, &[]).end().with(3);
    let account = ended.json();
    assert_eq!(account["accepted"], 3, "{account}");
    assert_eq!(account["refused"], 6, "{account}");
    assert_eq!(account["empty"], 1, "{account}");
    for (number, reason) in [
        (2, "broken NDJSON"),
        (3, "lamsp"),
        (4, "1024"),
        (5, "deadline"),
        (8, "key"),
        (10, "boddy"),
    ] {
        let begin = format!("line {number}: ");
        let said = ended.stderr.lines().find(|line| line.contains(&begin));
        let said = said.unwrap_or_else(|| panic!("nothing on line {number}: {ended:#?}"));
        assert!(said.contains(reason), "line {number}: {said}");
    }
    house.until_idle();
    house.executed().assert_each_number_once(3);
}

#[test]
fn an_input_or_a_bridge_that_is_not_there_is_named() {
    let house = House::new();
    let missing = house.path("nothing.txt");
    let ended = house.enqueue(&missing, &[]).end().with(4);
    assert!(ended.stderr.contains("nothing.txt"), "{ended:#?}");

    let file = house.numbers(3);
    let ended = house
        .enqueue(&file, &["--patience", "300ms"])
        .end()
        .with(69);
    let address = format!("127.0.0.1:{}", house.listen);
    assert!(ended.stderr.contains(&address), "{ended:#?}");
    let account = ended.json();
    assert_eq!(account["unknown"], 0, "nothing left: {ended:#?}");
    assert_eq!(account["not_sent"], 3, "{ended:#?}");
    let ended = house.cli(&["status"]).with(69);
    assert!(
        ended.stderr.contains("is `leasebridge run` up?"),
        "{ended:#?}"
    );
}
