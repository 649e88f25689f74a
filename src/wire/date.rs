//! The `date` header of gRPC responses, from the clock that everything else has its time from.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use http::header::DATE;
use tonic::body::Body;

use crate::env::{Clock, Wall};

/// The last moment that the header can name: the end of the year 9999.
const LAST_UNIX_MS: u64 = 253_402_300_799_000;

/// Dates the responses of a gRPC service. hyper would read the machine's clock, which is the one thing in a simulated run
/// that differs from the last.
pub(crate) fn dated(
    clock: Arc<dyn Clock>,
) -> impl Fn(http::Response<Body>) -> http::Response<Body> + Clone + Send + Sync + 'static {
    move |mut response| {
        if let Some(date) = header(clock.wall()) {
            response.headers_mut().insert(DATE, date);
        }
        response
    }
}

fn header(now: Wall) -> Option<HeaderValue> {
    let since = Duration::from_millis(now.unix_ms().min(LAST_UNIX_MS));
    let text = httpdate::fmt_http_date(UNIX_EPOCH.checked_add(since)?);
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_clock_whatever_the_clock_says() {
        let said = |ms| header(Wall::from_unix_ms(ms)).unwrap();
        assert_eq!(said(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(said(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
