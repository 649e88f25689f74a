//! The `date` header of gRPC responses, which hyper would fill from the wall clock.

use http::HeaderValue;
use http::header::DATE;
use tonic::body::Body;

/// hyper would add the wall clock's time to each response; nobody reads it, and it would be the one thing in
/// a simulated run that differs from the last.
const FIXED_DATE: HeaderValue = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT");

/// A response of a gRPC service, always with the same date.
pub(crate) fn with_fixed_date(mut response: http::Response<Body>) -> http::Response<Body> {
    response.headers_mut().insert(DATE, FIXED_DATE);
    response
}
