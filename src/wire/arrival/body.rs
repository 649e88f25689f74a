//! Bodies of gRPC's responses whose bytes are counted as they arrive. Those of requests are metered as they come, see
//! `crate::listening`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

use super::ReceivedCount;

/// A body whose bytes are counted as they arrive.
struct CountedBody {
    body: Body,
    count: ReceivedCount,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.count.add(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// The response with its stream counted; the [`ReceivedCount`] is among its extensions.
pub(crate) fn count_response(response: http::Response<Body>) -> http::Response<Body> {
    let count = ReceivedCount::default();
    let counted = count.clone();
    let mut response = response.map(|body| {
        let count = counted;
        Body::new(CountedBody { body, count })
    });
    response.extensions_mut().insert(count);
    response
}
