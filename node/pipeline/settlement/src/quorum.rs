//! Several endpoints of one settlement layer, read as one, whichever layer it is. [spec settlement, Messages and money]
//!
//! An answer counts when a quorum of them gives it; so no single one, behind, mute or lying, stops the node or fools it.
//! Two nodes never quite agree on "now", so what has a moment is asked in two steps: the newest block that a quorum has
//! reached, by number, then the block of that number, by hash. What cannot be equal by nature (a gas estimate, a fee) is
//! the value that a quorum reaches: neither the highest nor the lowest, which one liar could name. A transaction goes to all.
//!
//! While no quorum agrees there is no head: to the guard the head stands still (SETTLEMENT_HEAD_STALE).

mod endpoint;
#[cfg(test)]
mod tests;

use crate::error::L1Error;
use endpoint::Endpoint;
pub(crate) use endpoint::REQUEST_TIMEOUT;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Pages of one list of events. An honest list ends long before; a liar's that has no end is left when a quorum has answered.
const PAGES_MAX: usize = 10_000;

/// A JSON-RPC request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) params: Value,
}

/// An endpoint's own error.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(crate) struct Fault {
    pub(crate) code: i64,
    #[serde(default)]
    pub(crate) message: String,
    pub(crate) data: Option<Value>,
}

/// What an endpoint answered.
pub(crate) type Answer = Result<Value, Fault>;

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("{0}")]
    Silent(String),
    /// The endpoints answer, and not the same.
    #[error("no {needed} of {count} endpoints agree on {method}")]
    NoQuorum { needed: usize, count: usize, method: String },
    #[error("requests are asked one by one")]
    Batch,
}

impl From<AskError> for L1Error {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NoQuorum { .. } => L1Error::NoQuorum(error.to_string()),
            AskError::Silent(_) | AskError::Batch => L1Error::Unreachable(error.to_string()),
        }
    }
}

/// How one answer is made of several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// A quorum must say the same.
    Same,
    /// The block at a moment: the highest number that a quorum has reached, and what a quorum calls the block of that number.
    Block,
    /// Like it, and the chain is expected to be further the next time.
    Newest,
    /// Numbers, each the highest that a quorum reaches.
    Figures,
    /// One that takes it is enough.
    Any,
}

/// What the methods of a layer mean.
pub(crate) trait Dialect: Send + Sync {
    fn rule(&self, request: &Request) -> Rule;

    /// What counts of a result: nothing else of it gets through.
    fn told(&self, method: &str, result: Value) -> Value;

    /// What of an answer must be equal: never what clients word or order differently.
    fn key(&self, method: &str, answer: &Answer) -> Value;

    /// Of a block.
    fn number(&self, block: &Value) -> Option<u64>;

    /// The parameters that ask for the block of a number instead of the one at a moment.
    fn numbered(&self, params: &Value, number: u64) -> Value;

    /// The parameters that ask for the next page, if the result is one of several.
    fn next_page(&self, _request: &Request, _result: &Value) -> Option<Value> {
        None
    }

    /// Joins a page to those before it.
    fn join(&self, _whole: &mut Value, _page: Value) {}

    fn timeout(&self, _method: &str) -> Duration {
        REQUEST_TIMEOUT
    }

    /// Most bytes of an answer.
    fn answer_bytes_max(&self, method: &str) -> usize;
}

/// See the module. Clones are one.
#[derive(Clone)]
pub(crate) struct Quorum(Arc<Inner>);

struct Inner {
    endpoints: Vec<Endpoint>,
    needed: usize,
    dialect: &'static dyn Dialect,
    /// Number of the newest block that a quorum ever agreed on.
    newest: AtomicU64,
}

impl Quorum {
    /// Over `endpoints`, which need not answer yet. `quorum` 0 is a majority.
    ///
    /// # Errors
    /// An address cannot be parsed; there is none; the quorum is more than there are, or so small that two could disagree.
    pub(crate) fn new(endpoints: &[String], quorum: usize, dialect: &'static dyn Dialect) -> Result<Quorum, L1Error> {
        let count = endpoints.len();
        let needed = if quorum == 0 { count / 2 + 1 } else { quorum };
        if needed > count || needed * 2 <= count {
            return Err(L1Error::Unreachable(format!("a quorum of {needed} of {count} endpoints is no majority of them")));
        }
        let client = crate::http::client(REQUEST_TIMEOUT)?;
        let endpoint = |address: &String| Endpoint::new(address, client.clone());
        let endpoints = endpoints.iter().map(endpoint).collect::<Result<Vec<_>, L1Error>>()?;
        Ok(Quorum(Arc::new(Inner { endpoints, needed, dialect, newest: AtomicU64::new(0) })))
    }

    /// One answer of several. A single endpoint is believed.
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer, AskError> {
        if let [only] = &self.0.endpoints[..] {
            let timeout = self.0.dialect.timeout(&request.method);
            return only
                .ask(&request, timeout, self.0.dialect.answer_bytes_max(&request.method))
                .await
                .map_err(AskError::Silent);
        }
        match self.0.dialect.rule(&request) {
            Rule::Same => self.same(&request).await,
            Rule::Block => self.block(&request, false).await,
            Rule::Newest => self.block(&request, true).await,
            Rule::Figures => self.figures(&request).await,
            Rule::Any => self.any(&request).await,
        }
    }

    /// Asks all; what each says comes with its index, `Err` being no answer at all.
    fn send(&self, request: &Request) -> JoinSet<(usize, Result<Answer, String>)> {
        let mut answers = JoinSet::new();
        for index in 0..self.0.endpoints.len() {
            let (this, request) = (self.clone(), request.clone());
            answers.spawn(async move {
                let answer = this.whole(index, &request).await;
                this.0.endpoints[index].mute.store(answer.is_err(), Ordering::Relaxed);
                (index, answer)
            });
        }
        answers
    }

    /// All pages of what one endpoint says: where a page ends, and how the next is asked for, is its own affair.
    async fn whole(&self, index: usize, request: &Request) -> Result<Answer, String> {
        let Inner { endpoints, dialect, .. } = &*self.0;
        let (timeout, bytes_max) = (dialect.timeout(&request.method), dialect.answer_bytes_max(&request.method));
        let mut whole = match endpoints[index].ask(request, timeout, bytes_max).await? {
            Ok(result) => result,
            Err(fault) => return Ok(Err(fault)),
        };
        let mut next = dialect.next_page(request, &whole);
        let mut pages = 1;
        while let Some(params) = next {
            if pages == PAGES_MAX {
                return Err(format!("{}: more than {PAGES_MAX} pages", endpoints[index].name));
            }
            let page = match endpoints[index].ask(&Request { params, ..request.clone() }, timeout, bytes_max).await? {
                Ok(page) => page,
                Err(fault) => return Ok(Err(fault)),
            };
            next = dialect.next_page(request, &page);
            dialect.join(&mut whole, page);
            pages += 1;
        }
        Ok(Ok(dialect.told(&request.method, whole)))
    }

    /// The first answer that a quorum gives.
    async fn same(&self, request: &Request) -> Result<Answer, AskError> {
        let mut answers = self.send(request);
        let mut groups = Groups::default();
        while let Some(Ok((index, answer))) = answers.join_next().await {
            match answer {
                Ok(answer) => {
                    let key = self.0.dialect.key(&request.method, &answer);
                    groups.add(index, key, answer);
                }
                Err(why) => {
                    self.differs(index, &request.method, &why);
                    groups.silent = Some(why);
                }
            }
            if let Some(answer) = self.winner(&mut groups, &request.method) {
                return Ok(answer);
            }
        }
        Err(self.none(request, groups.answered(), groups.silent))
    }

    fn winner(&self, groups: &mut Groups, method: &str) -> Option<Answer> {
        let winner = groups.found.iter().position(|group| group.1.len() >= self.0.needed)?;
        let (_, agreeing, answer) = groups.found.swap_remove(winner);
        agreeing.into_iter().for_each(|index| self.agrees(index));
        let others = groups.found.iter().flat_map(|(_, others, _)| others);
        others.for_each(|index| self.differs(*index, method, "another answer than the quorum's"));
        Some(answer)
    }

    /// At least a quorum of answers: of all that are not mute, or of as many as are `enough`.
    async fn gather(
        &self,
        request: &Request,
        enough: impl Fn(&[(usize, Answer)]) -> bool,
    ) -> Result<Vec<(usize, Answer)>, AskError> {
        let endpoints = &self.0.endpoints;
        let mut waiting: BTreeSet<usize> = (0..endpoints.len()).collect();
        let (mut answers, mut silent) = (vec![], None);
        let mut asked = self.send(request);
        while let Some(Ok((index, answer))) = asked.join_next().await {
            waiting.remove(&index);
            match answer {
                Ok(answer) => answers.push((index, answer)),
                Err(why) => {
                    self.differs(index, &request.method, &why);
                    silent = Some(why);
                }
            }
            let all = waiting.iter().all(|index| endpoints[*index].mute.load(Ordering::Relaxed));
            if answers.len() >= self.0.needed && (all || enough(&answers)) {
                break;
            }
        }
        // Who answers late is not mute.
        asked.detach_all();
        if answers.len() < self.0.needed {
            return Err(self.none(request, answers.len(), silent));
        }
        Ok(answers)
    }

    /// The block at a moment: its number first, then what a quorum calls the block of that number. One that is behind and one that
    /// is slow must not make the head stand still: a number that is no news is taken only when all were heard.
    async fn block(&self, request: &Request, newest: bool) -> Result<Answer, AskError> {
        let Inner { dialect, newest: reached, .. } = &*self.0;
        let number = |answers: &[(usize, Answer)]| {
            let numbers = answers.iter().filter_map(|(_, answer)| dialect.number(answer.as_ref().ok()?));
            self.reached(numbers.collect())
        };
        let seen = reached.load(Ordering::Relaxed);
        let answers = self.gather(request, |answers| newest && number(answers).is_some_and(|number| number > seen)).await?;
        let Some(number) = number(&answers) else {
            // No such block, if a quorum says so.
            let mut groups = Groups::default();
            answers.into_iter().for_each(|(index, answer)| groups.add(index, dialect.key(&request.method, &answer), answer));
            let answered = groups.answered();
            return self.winner(&mut groups, &request.method).ok_or_else(|| self.none(request, answered, None));
        };
        let params = dialect.numbered(&request.params, number);
        let answer = self.same(&Request { method: request.method.clone(), params }).await?;
        if newest && answer.as_ref().is_ok_and(|block| dialect.number(block) == Some(number)) {
            reached.fetch_max(number, Ordering::Relaxed);
        }
        Ok(answer)
    }

    /// Each number the highest that a quorum reaches: between what honest ones say, whatever the others do. A refusal (a call that
    /// reverts) is an answer, if a quorum refuses.
    async fn figures(&self, request: &Request) -> Result<Answer, AskError> {
        let answers = self.gather(request, |_| false).await?;
        let answered = answers.len();
        let mut shapes: Vec<(Value, Vec<Answer>)> = vec![];
        for (_, answer) in answers {
            let shape = match &answer {
                Ok(value) => shape(value),
                Err(_) => self.0.dialect.key(&request.method, &answer),
            };
            match shapes.iter_mut().find(|(known, _)| *known == shape) {
                Some((_, alike)) => alike.push(answer),
                None => shapes.push((shape, vec![answer])),
            }
        }
        let alike = shapes.into_iter().map(|(_, alike)| alike).find(|alike| alike.len() >= self.0.needed);
        let mut alike = alike.ok_or_else(|| self.none(request, answered, None))?;
        match alike.iter().cloned().collect::<Result<Vec<Value>, Fault>>() {
            Ok(values) => Ok(Ok(reached(&values.iter().collect::<Vec<_>>(), self.0.needed))),
            Err(_) => Ok(alike.swap_remove(0)),
        }
    }

    /// The first that takes it; the rest still get it. Of refusals the one that most give.
    async fn any(&self, request: &Request) -> Result<Answer, AskError> {
        let mut answers = self.send(request);
        let (mut refused, mut silent) = (Groups::default(), None);
        while let Some(Ok((index, answer))) = answers.join_next().await {
            match answer {
                Ok(Ok(taken)) => {
                    answers.detach_all();
                    return Ok(Ok(taken));
                }
                Ok(fault) => refused.add(index, self.0.dialect.key(&request.method, &fault), fault),
                Err(why) => silent = Some(why),
            }
        }
        let most = refused.found.into_iter().max_by_key(|(_, agreeing, _)| agreeing.len());
        most.map(|(_, _, fault)| fault).ok_or_else(|| self.none(request, 0, silent))
    }

    /// The highest number that a quorum has reached.
    fn reached(&self, mut numbers: Vec<u64>) -> Option<u64> {
        numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        numbers.get(self.0.needed - 1).copied()
    }

    fn agrees(&self, index: usize) {
        let endpoint = &self.0.endpoints[index];
        if endpoint.apart.swap(false, Ordering::Relaxed) {
            tracing::info!(endpoint = endpoint.name, "the endpoint agrees with the others again");
        }
    }

    fn differs(&self, index: usize, method: &str, why: &str) {
        let endpoint = &self.0.endpoints[index];
        if !endpoint.apart.swap(true, Ordering::Relaxed) {
            tracing::warn!(endpoint = endpoint.name, method, why, "the endpoint is left out");
        }
    }

    /// Too few answered, or too few the same.
    fn none(&self, request: &Request, answered: usize, silent: Option<String>) -> AskError {
        match silent {
            Some(why) if answered < self.0.needed => AskError::Silent(why),
            _ => AskError::NoQuorum { needed: self.0.needed, count: self.0.endpoints.len(), method: request.method.clone() },
        }
    }
}

/// Answers by what must be equal of them.
#[derive(Default)]
struct Groups {
    found: Vec<(Value, Vec<usize>, Answer)>,
    silent: Option<String>,
}

impl Groups {
    fn add(&mut self, index: usize, key: Value, answer: Answer) {
        match self.found.iter_mut().find(|group| group.0 == key) {
            Some(group) => group.1.push(index),
            None => self.found.push((key, vec![index], answer)),
        }
    }

    fn answered(&self) -> usize {
        self.found.iter().map(|group| group.1.len()).sum()
    }
}

/// A number as nodes write it: hexadecimal, or of JSON.
fn figure(value: &Value) -> Option<u128> {
    match value {
        Value::String(text) => u128::from_str_radix(text.strip_prefix("0x")?, 16).ok(),
        Value::Number(number) => number.as_u64().map(u128::from),
        _ => None,
    }
}

/// What of figures must be equal: all but the numbers.
fn shape(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, field)| (name.clone(), shape(field))).collect()),
        value if figure(value).is_some() => Value::Null,
        other => Value::String(other.to_string()),
    }
}

/// Of values of one shape: each number the `needed`-th highest.
fn reached(values: &[&Value], needed: usize) -> Value {
    let inner = |pick: &dyn Fn(&Value) -> Value| -> Value {
        let parts: Vec<Value> = values.iter().map(|value| pick(value)).collect();
        reached(&parts.iter().collect::<Vec<_>>(), needed)
    };
    match values[0] {
        Value::Array(items) => (0..items.len()).map(|at| inner(&|value| value[at].clone())).collect(),
        Value::Object(fields) => {
            let field = |name: &String| (name.clone(), inner(&|value| value[name].clone()));
            Value::Object(fields.keys().map(field).collect())
        }
        _ => {
            let mut values = values.to_vec();
            values.sort_by_key(|value| std::cmp::Reverse(figure(value)));
            values[needed - 1].clone()
        }
    }
}

/// The named fields of an object that it has; anything else as it is.
pub(crate) fn only(value: &Value, names: &[&str]) -> Value {
    let Value::Object(fields) = value else { return value.clone() };
    let found = names.iter().filter_map(|name| Some(((*name).to_owned(), fields.get(*name)?.clone())));
    Value::Object(found.filter(|(_, field)| !field.is_null()).collect())
}
