//! The functions of libc that are defined anew. Each asks [`state`](crate::state) first and else makes the system
//! call itself: libc's own function can no longer be reached by its name.

use std::arch::asm;

use libc::{c_int, c_long, c_uint, c_void, clockid_t, size_t, ssize_t, time_t, timespec, timeval};

use crate::state;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A system call; the kernel's answer as it is, negative for an error.
#[cfg(target_arch = "x86_64")]
unsafe fn kernel(number: c_long, args: [c_long; 6]) -> c_long {
    let answer;
    // SAFETY: this is the kernel's convention on x86-64; what the call does is the caller's affair.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    answer
}

/// A system call; the kernel's answer as it is, negative for an error.
#[cfg(target_arch = "aarch64")]
unsafe fn kernel(number: c_long, args: [c_long; 6]) -> c_long {
    let answer;
    // SAFETY: this is the kernel's convention on AArch64; what the call does is the caller's affair.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] => answer,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4], in("x5") args[5],
            options(nostack)
        );
    }
    answer
}

/// Turns the kernel's answer into libc's: -1, with the error's number in `errno`.
fn answered(answer: c_long) -> c_long {
    const LAST_ERROR: c_long = -4095;
    if (LAST_ERROR..0).contains(&answer) {
        let errno = c_int::try_from(-answer).unwrap_or(libc::EINVAL);
        // SAFETY: libc gives a valid pointer to this thread's `errno`.
        unsafe { *libc::__errno_location() = errno };
        return -1;
    }
    answer
}

/// The slice that a caller's pointer and length describe.
///
/// # Safety
/// They must describe memory that may be written.
unsafe fn slice<'a>(buffer: *mut c_void, len: size_t) -> &'a mut [u8] {
    if buffer.is_null() || len == 0 {
        return &mut [];
    }
    // SAFETY: the caller says so.
    unsafe { std::slice::from_raw_parts_mut(buffer.cast(), len) }
}

/// See `getrandom(2)`.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getrandom(
    buffer: *mut c_void,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: the contract of getrandom: `buffer` has room for `len` bytes.
    if state::fill(unsafe { slice(buffer, len) }) {
        return len.cast_signed();
    }
    let args = [
        buffer as c_long,
        len as c_long,
        c_long::from(flags),
        0,
        0,
        0,
    ];
    // SAFETY: the caller keeps the contract of getrandom.
    let answer = unsafe { kernel(libc::SYS_getrandom, args) };
    answered(answer) as ssize_t
}

/// See `getentropy(3)`.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getentropy(buffer: *mut c_void, len: size_t) -> c_int {
    // SAFETY: the contract of getentropy is a part of getrandom's.
    let filled = unsafe { getrandom(buffer, len, 0) };
    if filled.cast_unsigned() == len { 0 } else { -1 }
}

/// See `syscall(2)`: only a request for random bytes is answered here.
///
/// libc declares it with a variable number of arguments; on both architectures those are passed as these are, and
/// the kernel ignores what a call doesn't need.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if number == libc::SYS_getrandom && state::is_active() {
        // SAFETY: the caller keeps the contract of getrandom, in the order of its arguments.
        return unsafe { getrandom(a as *mut c_void, b as size_t, c as c_uint) } as c_long;
    }
    // SAFETY: the caller keeps the contract of the call.
    answered(unsafe { kernel(number, [a, b, c, d, e, f]) })
}

/// See `clock_gettime(2)`.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    let simulated = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => state::wall_ns(),
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_BOOTTIME => state::monotonic_ns(),
        _ => None,
    };
    if let Some(ns) = simulated {
        let shown = timespec {
            tv_sec: (ns / NANOS_PER_SECOND).cast_signed(),
            tv_nsec: (ns % NANOS_PER_SECOND).cast_signed(),
        };
        // SAFETY: the contract of clock_gettime: `time` may be written.
        unsafe { time.write(shown) };
        return 0;
    }
    let args = [c_long::from(clock), time as c_long, 0, 0, 0, 0];
    // SAFETY: the caller keeps the contract of clock_gettime.
    answered(unsafe { kernel(libc::SYS_clock_gettime, args) }) as c_int
}

/// See `gettimeofday(2)`.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn gettimeofday(time: *mut timeval, zone: *mut c_void) -> c_int {
    if let (Some(ns), false) = (state::wall_ns(), time.is_null()) {
        let shown = timeval {
            tv_sec: (ns / NANOS_PER_SECOND).cast_signed(),
            tv_usec: (ns % NANOS_PER_SECOND / 1_000).cast_signed(),
        };
        // SAFETY: the contract of gettimeofday: `time` may be written if it isn't null.
        unsafe { time.write(shown) };
        return 0;
    }
    let args = [time as c_long, zone as c_long, 0, 0, 0, 0];
    // SAFETY: the caller keeps the contract of gettimeofday.
    answered(unsafe { kernel(libc::SYS_gettimeofday, args) }) as c_int
}

/// See `time(2)`.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn time(out: *mut time_t) -> time_t {
    let mut now = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` may be written.
    unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    if !out.is_null() {
        // SAFETY: the contract of time: `out` may be written if it isn't null.
        unsafe { out.write(now.tv_sec) };
    }
    now.tv_sec
}
