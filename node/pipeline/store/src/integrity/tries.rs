use crate::error::StoreError;
use crate::keys::{CLASSES, Key, NODES, STORAGE_ROOTS};
use crate::state::{StateAt, felt};
use crate::store::Store;
use crate::tries::{TrieId, decode_node};
use keel_commitment::Felt;
use keel_commitment::hash::{Pedersen, Poseidon};
use keel_commitment::state::class_leaf;
use keel_commitment::trie::{HEIGHT_STATE, Node, Path};
use keel_types::Height;

/// What [`Store::check_tries`] looked at and the first thing it found wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrieCheck {
    /// The block after which the tries stood.
    pub height: Option<Height>,
    pub tries: u64,
    pub nodes: u64,
    pub fault: Option<TrieFault>,
}

/// Where stored tries do not agree with themselves, with a header or with the flat state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrieFault {
    pub trie: TrieId,
    pub path: Path,
    pub why: &'static str,
}

impl Store {
    /// Hashes every stored node again, in one walk over the table and in memory for one way down: each has the hash that its parent or root
    /// names, none is missing, none is there that nothing leads to; the roots are the last header's; and every leaf of the contract and class
    /// tries is what the flat state says. Blocks may be committed meanwhile.
    ///
    /// # Errors
    /// The database, or bytes that are no node.
    pub fn check_tries(&self) -> Result<TrieCheck, StoreError> {
        let Some(height) = self.height() else { return Ok(TrieCheck::default()) };
        let state = self.state_at(height)?;
        let mut walk = Walk { state: &state, trie: None, ahead: Vec::new(), tries: 0, nodes: 0 };
        let fault = walk.all()?.err();
        Ok(TrieCheck { height: Some(height), tries: walk.tries, nodes: walk.nodes, fault })
    }
}

/// The walk over all nodes in the order of their keys, which is the order in which each trie is walked.
struct Walk<'a> {
    state: &'a StateAt<'a>,
    trie: Option<TrieId>,
    /// Nodes that must come, the next one last: at most one for each step of a way.
    ahead: Vec<Expected>,
    tries: u64,
    nodes: u64,
}

struct Expected {
    path: Path,
    hash: Felt,
    /// Below an edge: no other edge may follow.
    binary: bool,
}

/// The first thing that is wrong, inside what may fail for another reason.
type Checked = Result<Result<(), TrieFault>, StoreError>;

/// Passes a fault on to the caller.
macro_rules! hold {
    ($checked:expr) => {
        if let Err(fault) = $checked {
            return Ok(Err(fault));
        }
    };
}

impl Walk<'_> {
    fn all(&mut self) -> Checked {
        let state = self.state;
        for row in state.scan(NODES, &[], &[]) {
            let (key, value) = row?;
            let (id, path) = TrieId::of_key(&key)?;
            if self.trie != Some(id) {
                hold!(self.end());
                hold!(self.begin(id)?);
            }
            let node = decode_node(&Key::new().bytes(&key), &value)?;
            self.nodes += 1;
            hold!(self.node(id, path, &node)?);
        }
        hold!(self.end());
        self.roots_have_tries()
    }

    fn begin(&mut self, id: TrieId) -> Checked {
        let root = self.state.root(id)?;
        if root == Felt::ZERO {
            return Ok(Err(TrieFault {
                trie: id,
                path: Path::ROOT,
                why: "nodes of a trie whose root says that it is empty",
            }));
        }
        self.trie = Some(id);
        self.tries += 1;
        self.ahead.push(Expected { path: Path::ROOT, hash: root, binary: false });
        Ok(Ok(()))
    }

    fn end(&mut self) -> Result<(), TrieFault> {
        match (self.trie, self.ahead.pop()) {
            (Some(trie), Some(expected)) => Err(TrieFault { trie, path: expected.path, why: "the node is missing" }),
            _ => Ok(()),
        }
    }

    fn node(&mut self, trie: TrieId, path: Path, node: &Node) -> Checked {
        let fault = |path, why| Ok(Err(TrieFault { trie, path, why }));
        let expected = match self.ahead.pop() {
            None => return fault(path, "nothing leads to the node"),
            Some(expected) if path < expected.path => return fault(path, "nothing leads to the node"),
            Some(expected) if path > expected.path => return fault(expected.path, "the node is missing"),
            Some(expected) => expected,
        };
        let hash = match trie {
            TrieId::Classes => node.hash::<Poseidon>(),
            TrieId::Contracts | TrieId::Storage(_) => node.hash::<Pedersen>(),
        };
        if hash != expected.hash {
            return fault(path, "the node has another hash than its parent says");
        }
        match node {
            Node::Binary { .. } if path.len() >= HEIGHT_STATE => return fault(path, "a node below the leaves"),
            Node::Binary { left, right } => {
                hold!(self.below(trie, path.child(true), *right, false)?);
                hold!(self.below(trie, path.child(false), *left, false)?);
            }
            Node::Edge { .. } if expected.binary => return fault(path, "an edge below an edge"),
            Node::Edge { path: edge, child } => match path.join(edge) {
                Some(end) => hold!(self.below(trie, end, *child, true)?),
                None => return fault(path, "an edge past the leaves"),
            },
        }
        Ok(Ok(()))
    }

    /// What hangs at `at`: a node to come, or a leaf.
    fn below(&mut self, trie: TrieId, at: Path, hash: Felt, binary: bool) -> Checked {
        if at.len() < HEIGHT_STATE {
            self.ahead.push(Expected { path: at, hash, binary });
            return Ok(Ok(()));
        }
        let flat = match trie {
            TrieId::Contracts => self.state.contract_state(&at.value())?.leaf(),
            TrieId::Classes => {
                let compiled = self.state.value(CLASSES, Key::new().felt(&at.value()))?;
                compiled.map_or(Felt::ZERO, |compiled| class_leaf(&compiled.value))
            }
            // The roots recomputed from flat storage cover these at a fraction of the reads.
            TrieId::Storage(_) => hash,
        };
        let fault = TrieFault { trie, path: at, why: "the leaf is not what the flat state says" };
        Ok(if flat == hash { Ok(()) } else { Err(fault) })
    }

    /// A trie without any node was never begun: its root must be 0.
    fn roots_have_tries(&self) -> Checked {
        let mut with_root = vec![];
        for id in [TrieId::Contracts, TrieId::Classes] {
            if self.state.root(id)? != Felt::ZERO {
                with_root.push(id);
            }
        }
        let mut without_nodes = None;
        let mut look = |id: TrieId| -> Result<(), StoreError> {
            if self.state.scan(NODES, id.name().as_ref(), id.name().as_ref()).next().transpose()?.is_none() {
                without_nodes.get_or_insert(id);
            }
            Ok(())
        };
        with_root.into_iter().try_for_each(&mut look)?;
        self.state.each(STORAGE_ROOTS, |contract, _| look(TrieId::Storage(felt(STORAGE_ROOTS, contract)?)))?;
        let why = "the trie has a root and no nodes";
        Ok(without_nodes.map_or(Ok(()), |trie| Err(TrieFault { trie, path: Path::ROOT, why })))
    }
}
