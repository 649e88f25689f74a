//! Routes, links and delivery with fallback.
