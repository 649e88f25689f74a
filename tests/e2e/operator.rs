//! `status`, `explain` and `poison` beside an endpoint that refuses some commands.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::endpoint::Endpoint;
use crate::harness::house::House;
use crate::harness::until;

const QUICK: &str = "[queue]\nbackoff = \"exponential\"\nbackoff_min = \"10ms\"\nbackoff_max = \"20ms\"\nmax_retries = 2\n";

const LINES: &[u8] = br#"{"body":"on 1","key":"good"}
{"body":"refuse 1","key":"bad-1","headers":{"who":"me"}}
{"body":"on 2"}
{"body":"refuse 2","key":"bad-2"}
{"body":"reject 1","key":"hot"}
"#;

/// The lines that `poison list --json` prints.
fn listed(house: &House) -> Vec<Value> {
    let ended = house.cli(&["poison", "list", "--json"]).with(0);
    let parse = |line| {
        let mut task: Value = serde_json::from_str(line).expect("JSON");
        // Reckoned back from now, to a millisecond or two.
        let enqueued = task
            .as_object_mut()
            .map(|task| task.remove("enqueued_unix_ms"));
        assert!(enqueued.flatten().is_some(), "{task}");
        task
    };
    ended.stdout.lines().map(parse).collect()
}

fn id_of(tasks: &[Value], key: &str) -> String {
    let found = tasks.iter().find(|task| task["key"] == key);
    let task = found.unwrap_or_else(|| panic!("{key} is not in {tasks:#?}"));
    task["task"].as_str().expect("an id").to_owned()
}

#[test]
fn what_was_refused_can_be_found_explained_requeued_and_purged() {
    let house = House::with_top(QUICK);
    let endpoint = Endpoint::start(&house);
    let _bridge = house.ready_bridge();
    let file = house.write("lines.ndjson", LINES);
    house.enqueue(&file, &[]).end().with(0);
    until("three are in poison", || house.route()["poison"] == 3);
    house.until_idle();
    assert_eq!(endpoint.executed(), ["on 1", "on 2"]);
    let route = house.route();
    assert_eq!(route["done_total"], 2, "{route}");
    assert_eq!(route["refused_total"], 2, "{route}");
    assert_eq!(route["rejected_total"], 3, "{route}");

    let tasks = listed(&house);
    assert_eq!(tasks.len(), 3);
    let table = house.cli(&["poison", "list"]).with(0).stdout;
    for text in ["bad-1", "bad-2", "hot", "no such lamp: refuse 1"] {
        assert!(table.contains(text), "{text} is not in\n{table}");
    }
    explained(&house);
    shown(&house, &id_of(&tasks, "bad-1"));

    let purged = id_of(&tasks, "bad-2");
    house.cli(&["poison", "purge", &purged]).with(0);
    house.cli(&["poison", "purge", &purged]).with(4);
    house.cli(&["poison", "show", &purged]).with(4);
    // Purging all of them without --yes is refused.
    house.cli(&["poison", "purge", "--all"]).with(2);
    assert_eq!(listed(&house).len(), 2);

    endpoint.become_lenient();
    let requeued = id_of(&tasks, "bad-1");
    let ended = house.cli(&["poison", "requeue", &requeued]).with(0);
    assert!(ended.stdout.contains("requeued 1"), "{ended:#?}");
    until("it is executed", || endpoint.executed().len() == 3);
    house.cli(&["poison", "requeue", "--all"]).with(0);
    until("the last is executed", || endpoint.executed().len() == 4);
    house.until_idle();
    assert_eq!(
        endpoint.executed(),
        ["on 1", "on 2", "refuse 1", "reject 1"]
    );
    assert!(listed(&house).is_empty());
}

fn explained(house: &House) {
    let story = house.cli(&["explain", "bad-1", "--json"]).with(0).json();
    assert_eq!(story["state"], "poison", "{story}");
    let attempts = story["attempts"].as_array().expect("a list");
    assert_eq!(attempts.len(), 1, "{story}");
    assert_eq!(attempts[0]["outcome"], "refused", "{story}");
    let hot = house.cli(&["explain", "hot", "--json"]).with(0).json();
    // The first delivery and two retries.
    assert_eq!(hot["attempts"].as_array().map(Vec::len), Some(3), "{hot}");
    let text = house.cli(&["explain", "bad-1"]).with(0).stdout;
    assert!(text.contains("no such lamp: refuse 1"), "{text}");
    let good = house.cli(&["explain", "good", "--json"]).with(0).json();
    assert_eq!(good["state"], "done", "{good}");
    house.cli(&["explain", "nobody-knows-this"]).with(4);
}

fn shown(house: &House, id: &str) {
    let text = house.cli(&["poison", "show", id]).with(0).stdout;
    for part in ["refuse 1", "no such lamp", "header who: me"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let task = house.cli(&["poison", "show", id, "--json"]).with(0).json();
    assert_eq!(task["body"], "refuse 1", "{task}");
}

#[test]
fn poison_survives_a_crash_of_the_bridge_with_its_history() {
    let house = House::with_top(QUICK);
    let endpoint = Endpoint::start(&house);
    let bridge = house.ready_bridge();
    let file = house.write("lines.ndjson", LINES);
    house.enqueue(&file, &[]).end().with(0);
    until("three are in poison", || house.route()["poison"] == 3);
    house.until_idle();
    let before = listed(&house);
    bridge.kill();
    let _bridge = house.ready_bridge();
    assert_eq!(listed(&house), before);
    explained(&house);
    assert_eq!(endpoint.executed(), ["on 1", "on 2"]);
}

/// One command that was in doubt when its bridge was killed, alone in the air, is in poison after the restart.
fn leave_in_doubt(house: &House, endpoint: &Endpoint, name: &str) -> String {
    let bridge = house.ready_bridge();
    let waiting = endpoint.waiting();
    let line = format!("{{\"body\":\"wait {name}\",\"key\":\"{name}\"}}\n");
    let file = house.write(name, line.as_bytes());
    house.enqueue(&file, &["--format", "ndjson"]).end().with(0);
    until("it is at work", || endpoint.waiting() == waiting + 1);
    bridge.kill();
    let _bridge = house.ready_bridge();
    until("it is in poison", || !listed(house).is_empty());
    id_of(&listed(house), name)
}

fn enqueue_again(house: &House, name: &str) -> crate::harness::process::Ended {
    house
        .enqueue(&house.path(name), &["--format", "ndjson"])
        .end()
}

/// Told success, never run: a key that was refused and purged, enqueued again, gave exit 0, `already_there`, and nothing
/// ran.
#[test]
fn a_purged_key_is_free_unless_its_command_may_have_been_executed() {
    let house = House::with_top(&format!("{QUICK}max_in_doubt = 0\n"));
    let endpoint = Endpoint::start(&house);
    let id = leave_in_doubt(&house, &endpoint, "kept");
    let bridge = house.ready_bridge();
    house.cli(&["poison", "purge", &id]).with(0);
    let told = enqueue_again(&house, "kept").with(3);
    let says = "removed from the queue and may have been executed";
    assert!(told.stderr.contains(says), "{told:#?}");
    bridge.kill();

    let id = leave_in_doubt(&house, &endpoint, "freed");
    let _bridge = house.ready_bridge();
    house
        .cli(&["poison", "purge", &id, "--release-key"])
        .with(0);
    let told = enqueue_again(&house, "freed").with(0).json();
    assert_eq!(told["accepted"], 1, "{told}");
    endpoint.give_leave();
    house.until_idle();

    let refused = b"{\"body\":\"refuse 1\",\"key\":\"refused\"}\n";
    let file = house.write("refused", refused);
    let ndjson = ["--format", "ndjson"];
    house.enqueue(&file, &ndjson).end().with(0);
    until("it is in poison", || house.route()["poison"] == 1);
    enqueue_again(&house, "refused").with(3);
    endpoint.become_lenient();
    let id = id_of(&listed(&house), "refused");
    house.cli(&["poison", "purge", &id]).with(0);
    enqueue_again(&house, "refused").with(0);
    let ran = || endpoint.executed().contains(&"refuse 1".to_owned());
    until("it is executed", ran);
}

/// More than a few steps of a job.
const MANY: u64 = 6_000;

/// The newest record of a job in the log of a bridge that is dead.
fn last_job(house: &House) -> Value {
    let dumped = house.cli(&["journal", "dump"]).with(0);
    let records = dumped.stdout.lines();
    let mut records = records.filter(|line| line.contains("\"type\":\"job\""));
    let last = records.next_back().expect("it was begun durably");
    serde_json::from_str(last).expect("JSON")
}

/// `poison requeue --all` of 150,000 stopped after 51,712 with "may still happen": it goes on in the bridge.
#[test]
fn a_requeue_of_all_goes_on_over_a_kill_and_takes_each_task_once() {
    let house = House::with_top(QUICK);
    let _endpoint = Endpoint::start(&house);
    let mut bridge = house.ready_bridge();
    let lines: String = (1..=MANY).map(|n| format!("refuse {n}\n")).collect();
    let file = house.write("lines.txt", lines.as_bytes());
    house.enqueue(&file, &[]).end().with(0);
    // What is requeued is refused again at once, while the job goes on. It may be over before the kill.
    for job in 1..20 {
        until("all are in poison", || house.route()["poison"] == MANY);
        let mut asking = house.start("poison", house.command(&["poison", "requeue", "--all"]));
        asking.until_it_says("goes on in the bridge");
        bridge.kill();
        let stood = last_job(&house);
        bridge = house.ready_bridge();
        let told = asking.end().with(0).stdout;
        assert!(told.contains(&format!("tasks (job {job})")), "{told}");
        let id = job.to_string();
        let over = house.cli(&["poison", "jobs", &id, "--json"]).with(0).json();
        assert_eq!(
            (&over["changed"], &over["total"]),
            (&MANY.into(), &MANY.into())
        );
        let changed = stood["changed"].as_u64().expect("a number");
        let since = house.route()["requeued_total"].as_u64();
        assert_eq!(since, Some(MANY - changed), "{stood}");
        if stood["ended"].is_null() {
            house.cli(&["poison", "jobs", "99"]).with(4);
            return;
        }
    }
    panic!("each of the jobs was over before its bridge was killed");
}

/// Who looked on at a requeue of everything went away, and then somebody wanted to stop it.
#[test]
fn a_job_outlives_its_client_and_can_be_stopped_for_good() {
    const TASKS: u64 = 20_000;
    // Nobody listens: what is too old goes to poison, and what is requeued gets there again.
    let house = House::with("", "max_age = \"1s\"", "");
    let bridge = house.ready_bridge();
    let file = house.numbers(TASKS);
    house.enqueue(&file, &[]).end().with(0);
    // A quick machine may be through with it before anybody can say a word.
    let stopped = (0..50).find_map(|_| {
        until("all are in poison", || house.route()["poison"] == TASKS);
        let mut client = house.start("requeue", house.command(&["poison", "requeue", "--all"]));
        client.until_it_says("goes on in the bridge");
        client.signal(Signal::INT);
        let ended = client.end();
        let id = jobs(&house, &[]).pop().expect("one was begun")["job"].to_string();
        if ended.code == Some(130) {
            let how = format!("`leasebridge poison jobs stop {id}` stops it");
            assert!(ended.stderr.contains(&how), "{ended:#?}");
        }
        let told = house.cli(&["poison", "jobs", "stop", &id]).with(0);
        let job = jobs(&house, &[&id]).remove(0);
        let is_stopped = job["stopped"] == true;
        assert_eq!(told.stdout.contains("stopped"), is_stopped, "{told:#?}");
        (ended.code == Some(130) && is_stopped).then_some((id, job))
    });
    let (id, job) = stopped.expect("one of them was still running");
    assert!(job["changed"].as_u64() < Some(TASKS), "{job}");
    assert_eq!(job["total"], TASKS, "{job}");
    bridge.kill();
    let _bridge = house.ready_bridge();
    assert_eq!(jobs(&house, &[&id])[0]["changed"], job["changed"]);
    assert_eq!(jobs(&house, &[&id])[0]["stopped"], true);
    house.cli(&["poison", "jobs", "stop", "99"]).with(4);
}

/// What `poison jobs --json` prints.
fn jobs(house: &House, more: &[&str]) -> Vec<Value> {
    let args = [&["poison", "jobs", "--json"], more].concat();
    let listed = house.cli(&args).with(0).stdout;
    let parse = |line| serde_json::from_str(line).expect("JSON");
    listed.lines().map(parse).collect()
}
