//! The largest of everything: what is allowed is allowed to the last byte, and no number from outside breaks anything.

use crate::harness::endpoint::Endpoint;
use crate::harness::house::House;
use crate::harness::until;

#[test]
fn a_body_of_exactly_the_limit_is_executed_and_one_byte_more_is_refused() {
    const LIMIT: usize = 16 << 20;
    let house = House::with(
        "",
        "max_body = \"16MiB\"",
        "max_body = \"16MiB\"\n[journal]\nsegment_size = \"32MiB\"\n",
    );
    let _receiver = house.receiver();
    let _bridge = house.ready_bridge();
    let mut text = vec![b'x'; LIMIT];
    text.push(b'\n');
    let whole = house.write("whole.txt", &text);
    house.enqueue(&whole, &[]).end().with(0);
    house.until_idle();
    assert_eq!(house.executed().commands.len(), 1);
    assert_eq!(house.route()["poison"], 0);
    text.insert(0, b'x');
    let more = house.write("more.txt", &text);
    let refused = house.enqueue(&more, &[]).end().with(3);
    assert!(refused.stderr.contains("16777217"), "{refused:#?}");
}

/// The last moment that a number can say stands for every time that a producer makes up.
#[test]
fn a_deadline_at_the_end_of_time_is_a_deadline() {
    let house = House::new();
    let bridge = house.ready_bridge();
    for deadline in [u64::MAX, u64::MAX - 1, 1 << 63] {
        let record =
            format!("{{\"body\":\"{deadline}\",\"deadline\":{deadline}}}\n{{\"body\":\"b\"}}\n");
        let file = house.write(&format!("{deadline}.ndjson"), record.as_bytes());
        let account = house.enqueue(&file, &[]).end().with(0).json();
        assert_eq!(account["accepted"], 2, "{account}");
    }
    for number in 1..=6 {
        let explained = house
            .cli(&["explain", &number.to_string(), "--json"])
            .with(0);
        assert_eq!(explained.json()["state"], "ready", "{explained:#?}");
    }
    bridge.kill();
    let _bridge = house.ready_bridge();
    let endpoint = Endpoint::start(&house);
    house.until_idle();
    assert_eq!(endpoint.executed().len(), 6);
}

#[test]
fn eleven_hundred_routes_are_checked_and_started() {
    let house = House::new();
    let config = house.path("leasebridge.toml");
    let mut text = std::fs::read_to_string(&config).expect("it was written");
    for number in 0..1_100 {
        text.push_str(&format!("\n[routes.r{number}]\nsocket = \"127.0.0.1:1\"\n"));
    }
    std::fs::write(&config, text).expect("a folder of our own");
    house.cli(&["check-config"]).with(0);
    let _bridge = house.ready_bridge();
    let routes = house.status()["routes"].as_array().map(Vec::len);
    assert_eq!(routes, Some(1_101));
}

/// Of 200 routes to one receiver 68 never got a link: it had 256 places for connections, and each route has two links.
#[test]
fn two_hundred_routes_to_one_receiver_all_have_their_links() {
    const ROUTES: usize = 200;
    let house = House::new();
    let config = house.path("leasebridge.toml");
    let mut text = std::fs::read_to_string(&config).expect("it was written");
    let (socket, grpc) = (house.socket, house.grpc);
    for number in 1..ROUTES {
        text.push_str(&format!(
            "\n[routes.r{number}]\nsocket = \"127.0.0.1:{socket}\"\ngrpc = \"127.0.0.1:{grpc}\"\n"
        ));
    }
    std::fs::write(&config, text).expect("a folder of our own");
    let mut receiver = house.receiver();
    receiver.until_it_says("the receiver is ready");
    let _bridge = house.ready_bridge();
    let is_up = |link: &serde_json::Value| link["connected"] == true;
    until("every route has both links", || {
        let status = house.status();
        let routes = status["routes"].as_array().expect("a list");
        routes.len() == ROUTES
            && routes
                .iter()
                .all(|route| is_up(&route["socket"]) && is_up(&route["grpc"]))
    });
}

#[test]
fn an_environment_variable_that_is_set_to_nothing_is_not_set() {
    let house = House::new();
    let mut run = house.command(&["run"]);
    for variable in ["RUST_LOG", "LEASEBRIDGE_CONFIG", "LEASEBRIDGE_BRIDGE"] {
        run.env(variable, "");
    }
    let mut bridge = house.start("run", run);
    bridge.until_it_says("the bridge is ready");
    let mut status = house.command(&["status"]);
    status.env("LEASEBRIDGE_BRIDGE", "");
    house.start("status", status).end().with(0);
}

#[test]
fn a_name_with_control_characters_is_refused() {
    let house = House::with("", "", "[routes.\"a\\u0007b\"]\nsocket = \"127.0.0.1:1\"");
    let refused = house.cli(&["check-config"]).with(2);
    assert!(
        refused.stderr.contains("control characters"),
        "{refused:#?}"
    );
    assert!(!refused.stderr.contains('\u{7}'), "{refused:#?}");
}
