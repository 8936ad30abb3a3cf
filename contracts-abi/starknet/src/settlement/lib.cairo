//! The contracts of a chain that settles on Starknet. They are deployed there; no class of the chain itself is among them,
//! and none of these is in a genesis. The same contracts for Ethereum stand in `contracts-abi/ethereum`.

mod appchain;
mod attestation_registry;
mod bridge;
mod messaging;
mod program_output;
mod test_token;
