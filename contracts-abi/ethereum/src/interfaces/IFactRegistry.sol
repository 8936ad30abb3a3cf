// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What the core contract asks before it accepts a state transition. An attestation registry and a proof
/// verifier both fit behind it; a valid fact means only what the registry behind it makes it mean.
interface IFactRegistry {
    function isValid(bytes32 fact) external view returns (bool);
}
