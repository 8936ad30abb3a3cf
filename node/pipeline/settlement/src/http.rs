//! HTTP as this crate speaks it. Certificates are trusted that the system trusts, or browsers do.

use crate::error::L1Error;
pub(crate) use reqwest::{Client, Error, Response, StatusCode, Url};
use std::time::Duration;

/// A client that gives each request up after `timeout`.
///
/// # Errors
/// The system has no certificates that can be read.
pub(crate) fn client(timeout: Duration) -> Result<Client, L1Error> {
    let client = Client::builder().timeout(timeout).connect_timeout(timeout).build();
    client.map_err(|error| L1Error::Unreachable(error.to_string()))
}

/// Why a request failed, down to the last cause. Without the address: paths and queries of public endpoints hold keys, which are not shown.
pub(crate) fn explain(error: Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
