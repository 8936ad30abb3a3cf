// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Governance} from "./core/Governance.sol";
import {Messaging} from "./core/Messaging.sol";
import {ProgramOutput} from "./core/ProgramOutput.sol";
import {IFactRegistry} from "./interfaces/IFactRegistry.sol";

/// The settlement contract of one appchain: its last settled root, block number and block hash, and its messages.
///
/// ABI, checks, their order, events and error strings are those of the Starknet core contract (generation 2025_10), so
/// that watchers written for it work here. What differs:
/// - There is no proxy: the seven words that contract takes in `initialize` go to the constructor, the deployer is the
///   first governor, and `initialize` does not exist.
/// - `updateStateWithData` is added, which hashes the on-chain data itself instead of being told its hash. Its facts are of
///   a form that `updateState` cannot make (see `ProgramOutput`): what is attested with its data does not settle without.
/// - A blob that the output does not name is refused (UNEXPECTED_BLOB), and so is a block number beyond 64 bits
///   (NEW_BLOCK_NUMBER_OUT_OF_RANGE, right before INVALID_NEW_BLOCK_NUMBER).
/// - The cancellation delay has a minimum, fixed at construction (CANCELLATION_DELAY_TOO_SHORT), a change of it is logged,
///   and a cancellation keeps the deadline it was started with.
///
/// What makes a transition acceptable is the fact registry given at construction. With `AttestationRegistry` that is an
/// attestation by k of n nodes that re-executed the batch. It is not a validity proof.
contract AppchainCore is Governance, Messaging {
    event LogStateUpdate(uint256 globalRoot, int256 blockNumber, uint256 blockHash);
    event LogStateTransitionFact(bytes32 stateTransitionFact);
    event ProgramHashChanged(address indexed changedBy, uint256 oldProgramHash, uint256 newProgramHash);
    event AggregatorProgramHashChanged(
        address indexed changedBy, uint256 oldAggregatorProgramHash, uint256 newAggregatorProgramHash
    );
    event ConfigHashChanged(address indexed changedBy, uint256 oldConfigHash, uint256 newConfigHash);

    struct State {
        uint256 globalRoot;
        int256 blockNumber;
        uint256 blockHash;
    }

    /// Numbers have 64 bits, as the appchain's, so that none can be taken for -1.
    int256 private constant BLOCK_NUMBER_MAX = int256(uint256(type(uint64).max));
    /// There is no proxy that could freeze this contract.
    bool public constant isFrozen = false;
    uint256 public programHash;
    uint256 public aggregatorProgramHash;
    uint256 public configHash;
    address public immutable verifier;
    /// Where the fees of consumed messages go; zero means to the operator that submits the update.
    address payable public feeCollector;
    State private _state;

    /// `initData` is seven words: program hash, aggregator program hash, fact registry, config hash, and the state
    /// to start from (root, block number from -1 to 2^64 - 1, block hash). A new chain starts at (0, -1, 0). For `delayMinSeconds` see `Messaging`.
    constructor(bytes memory initData, uint256 delayMinSeconds) Messaging(delayMinSeconds) {
        require(initData.length == 7 * 32, "ILLEGAL_INIT_DATA_SIZE");
        (programHash, aggregatorProgramHash, verifier, configHash, _state) =
            abi.decode(initData, (uint256, uint256, address, uint256, State));
        require(programHash != 0 && verifier.code.length != 0, "BAD_INITIALIZATION");
        require(_state.blockNumber >= -1 && _state.blockNumber <= BLOCK_NUMBER_MAX, "BAD_INITIALIZATION");
    }

    function identify() external pure returns (string memory) {
        return "Keel_AppchainCore_2025_10";
    }

    function stateRoot() external view returns (uint256) {
        return _state.globalRoot;
    }

    /// -1 before the first batch.
    function stateBlockNumber() external view returns (int256) {
        return _state.blockNumber;
    }

    function stateBlockHash() external view returns (uint256) {
        return _state.blockHash;
    }

    function setProgramHash(uint256 newProgramHash) external notFinalized onlyGovernance {
        emit ProgramHashChanged(msg.sender, programHash, newProgramHash);
        programHash = newProgramHash;
    }

    function setAggregatorProgramHash(uint256 newAggregatorProgramHash) external notFinalized onlyGovernance {
        emit AggregatorProgramHashChanged(msg.sender, aggregatorProgramHash, newAggregatorProgramHash);
        aggregatorProgramHash = newAggregatorProgramHash;
    }

    function setConfigHash(uint256 newConfigHash) external notFinalized onlyGovernance {
        emit ConfigHashChanged(msg.sender, configHash, newConfigHash);
        configHash = newConfigHash;
    }

    function setMessageCancellationDelay(uint256 delayInSeconds) external notFinalized onlyGovernance {
        _setCancellationDelay(delayInSeconds);
    }

    function setFeeCollectionAddress(address collector) external onlyGovernance {
        (bool accepted,) = collector.call("");
        require(accepted, "ADDRESS_DOES_NOT_ACCEPT_ETH");
        feeCollector = payable(collector);
    }

    /// Data availability elsewhere: the caller names the hash of the data and its length in words. Kept for the ABI; it
    /// needs a fact of its own form, which attestors of a Keel chain do not sign.
    function updateState(uint256[] calldata programOutput, uint256 onchainDataHash, uint256 onchainDataSize)
        external
        onlyOperator
    {
        _checkBeginning(programOutput, 0);
        _update(programOutput, ProgramOutput.factWithDataElsewhere(programOutput, onchainDataHash, onchainDataSize));
    }

    /// Data availability in the calldata of this transaction: `daWords` is the packed state diff, word by word.
    function updateStateWithData(uint256[] calldata programOutput, uint256[] calldata daWords)
        external
        onlyOperator
    {
        _checkBeginning(programOutput, 0);
        ProgramOutput.checkWords(daWords, "ONCHAIN_DATA_VALUE_OUT_OF_RANGE");
        _update(programOutput, ProgramOutput.factWithData(programOutput, daWords));
    }

    /// Data availability in the blobs of this transaction, one point proof for each.
    function updateStateKzgDA(uint256[] calldata programOutput, bytes[] calldata kzgProofs) external onlyOperator {
        _checkBeginning(programOutput, 1);
        ProgramOutput.checkBlobs(programOutput, kzgProofs);
        _update(programOutput, ProgramOutput.hashWords(programOutput));
    }

    function _checkBeginning(uint256[] calldata output, uint256 kzgFlag) private view {
        require(output.length > ProgramOutput.HEADER_WORDS, "STARKNET_OUTPUT_TOO_SHORT");
        require(
            output[ProgramOutput.PREV_BLOCK_NUMBER] == _expectedPrevBlockNumber(), "INVALID_PREV_BLOCK_NUMBER"
        );
        require(output[ProgramOutput.USE_KZG_DA] == kzgFlag, "UNEXPECTED_KZG_DA_FLAG");
    }

    function _update(uint256[] calldata output, bytes32 stateTransitionFact) private {
        ProgramOutput.checkWords(output, "PROGRAM_OUTPUT_VALUE_OUT_OF_RANGE");
        require(output[ProgramOutput.CONFIG_HASH] == configHash, "INVALID_CONFIG_HASH");
        require(output[ProgramOutput.FULL_OUTPUT] == 0, "FULL_OUTPUT_NOT_SUPPORTED");
        bytes32 fact = keccak256(abi.encode(_factProgramHash(output), stateTransitionFact));
        require(IFactRegistry(verifier).isValid(fact), "NO_STATE_TRANSITION_PROOF");
        emit LogStateTransitionFact(stateTransitionFact);

        _advance(output);
        uint256 offset = _recordMessagesToL1(output, ProgramOutput.messagesAt(output));
        uint256 fees;
        (offset, fees) = _consumeMessagesToL2(output, offset);
        require(offset == output.length, "STARKNET_OUTPUT_TOO_LONG");
        emit LogStateUpdate(_state.globalRoot, _state.blockNumber, _state.blockHash);

        // Last, because the receiver runs code. If that code settled another batch, the number below is no longer ours.
        if (fees > 0) {
            address payable collector = feeCollector == address(0) ? payable(msg.sender) : feeCollector;
            (bool paid,) = collector.call{value: fees}("");
            require(paid, "ETH_TRANSFER_FAILED");
        }
        require(uint256(_state.blockNumber) == output[ProgramOutput.NEW_BLOCK_NUMBER], "REENTRANCY_FAILURE");
    }

    /// The number before the previous root and hash: its error is the least ambiguous of the three.
    function _advance(uint256[] calldata output) private {
        // A field element, so it has a sign bit to spare.
        int256 newBlockNumber = int256(output[ProgramOutput.NEW_BLOCK_NUMBER]);
        require(newBlockNumber <= BLOCK_NUMBER_MAX, "NEW_BLOCK_NUMBER_OUT_OF_RANGE");
        require(newBlockNumber > _state.blockNumber, "INVALID_NEW_BLOCK_NUMBER");
        require(output[ProgramOutput.PREV_BLOCK_HASH] == _state.blockHash, "INVALID_PREV_BLOCK_HASH");
        require(output[ProgramOutput.PREV_ROOT] == _state.globalRoot, "INVALID_PREVIOUS_ROOT");
        _state = State(output[ProgramOutput.NEW_ROOT], newBlockNumber, output[ProgramOutput.NEW_BLOCK_HASH]);
    }

    /// Before the first batch the number is -1, which a field element writes as the prime minus one.
    function _expectedPrevBlockNumber() private view returns (uint256) {
        return _state.blockNumber == -1 ? ProgramOutput.FIELD_PRIME - 1 : uint256(_state.blockNumber);
    }

    /// Word 6 is zero in our batches. A non-zero one is the form of an aggregated output, kept for a later prover.
    function _factProgramHash(uint256[] calldata output) private view returns (uint256) {
        uint256 osProgramHash = output[ProgramOutput.OS_PROGRAM_HASH];
        if (osProgramHash == 0) return programHash;
        require(osProgramHash == programHash, "AGGREGATOR_MODE_INVALID_OS_PROGRAM_HASH");
        return aggregatorProgramHash;
    }
}
