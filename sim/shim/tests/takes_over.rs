//! One process: first everything is the system's, then everything is the simulation's.
//!
//! All in one test, because there is no way back.
#![expect(
    clippy::disallowed_methods,
    reason = "what the standard library is told is what this is about"
)]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

static NOW_NS: AtomicU64 = AtomicU64::new(0);

fn now_ns() -> u64 {
    NOW_NS.load(Ordering::Relaxed)
}

/// Random bytes, by name and by a bare system call.
fn random() -> [[u8; 20]; 2] {
    let mut bytes = [[0; 20]; 2];
    // SAFETY: both calls get the room that they are told of.
    let got = unsafe {
        [
            libc::getrandom(bytes[0].as_mut_ptr().cast(), 20, 0) as libc::c_long,
            libc::syscall(libc::SYS_getrandom, bytes[1].as_mut_ptr(), 20, 0),
        ]
    };
    assert_eq!(got, [20, 20]);
    bytes
}

#[test]
fn nothing_changes_before_activation_and_everything_after_it() {
    // A thread without activation still hashes at random, and time goes on by itself.
    assert_ne!(random(), random());
    let (started, day) = (Instant::now(), SystemTime::now());
    while started.elapsed() < Duration::from_micros(50) {}
    assert!(SystemTime::now() > day);
    // A failing system call still says why.
    // SAFETY: the kernel refuses a call that doesn't exist.
    assert_eq!(unsafe { libc::syscall(100_000) }, -1);
    let error = std::io::Error::last_os_error();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSYS));

    leasebridge_sim_shim::activate(42, now_ns);
    assert!(leasebridge_sim_shim::is_active());
    let (first, hash) = (random(), on_a_new_thread());
    assert_ne!(first[0], first[1], "one stream, not one value");
    leasebridge_sim_shim::reseed(42);
    assert_eq!((random(), on_a_new_thread()), (first, hash));
    leasebridge_sim_shim::reseed(43);
    assert_ne!(random(), first);

    let (started, day) = (Instant::now(), SystemTime::now());
    assert_eq!(started, Instant::now(), "time stands still by itself");
    NOW_NS.fetch_add(1_500_000_000, Ordering::Relaxed);
    assert_eq!(started.elapsed(), Duration::from_millis(1_500));
    assert_eq!(day.elapsed().unwrap(), Duration::from_millis(1_500));
}

/// std draws the keys of its hash maps once per thread.
fn on_a_new_thread() -> u64 {
    std::thread::spawn(|| RandomState::new().hash_one(7))
        .join()
        .unwrap()
}
