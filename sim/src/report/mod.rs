//! What a person, a CI system and a browser are shown of a run.
//!
//! - [`plan`]: what was going to happen;
//! - [`words`]: each record as a few words;
//! - [`lives`]: the same records as lives of tasks and spans of faults;
//! - [`timeline`]: a line for each record, a column for each host;
//! - [`verdict`]: what the oracle found, and the command that shows it again;
//! - [`html`]: one page that needs no network;
//! - [`perfetto`]: the trace format of Perfetto and Chrome;
//! - [`machine`]: JSON lines, JUnit XML and GitHub annotations for many runs.

pub mod html;
pub mod lives;
pub mod machine;
pub mod perfetto;
pub mod plan;
pub mod timeline;
pub mod verdict;
pub mod words;
