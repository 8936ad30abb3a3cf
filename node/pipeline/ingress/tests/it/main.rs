//! Admission as a client sees it: requests in, commands in the queue or a distinct error out.

mod admission;
mod bad_input;
mod common;
mod messages;
mod session_keys;
