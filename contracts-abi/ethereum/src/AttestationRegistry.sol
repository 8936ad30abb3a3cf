// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFactRegistry} from "./interfaces/IFactRegistry.sol";

/// A fact is valid here once k of n attestors have signed it. An attestor is a node that re-executed the batch and
/// arrived at the same root.
///
/// This is an attestation, not a validity proof: k dishonest attestors can make any fact valid.
///
/// There is no administrator. What changes, changes only by k signatures of the current set, and only after `changeDelay`
/// seconds in which everybody can see the change coming and k signatures can cancel it: the set of attestors with its k; and
/// the successor, a fact registry (a proof verifier, say) that decides from then on. While there is one, this registry takes
/// no attestations: what it has attested stays valid, and everything else is for the successor to say.
contract AttestationRegistry is IFactRegistry {
    error BadSet();
    error BadThreshold();
    error BadDelay();
    error BadSignature(uint256 index);
    error NotAnAttestor(address signer);
    error SignersNotAscending(address previous, address signer);
    error TooFewSignatures(uint256 given, uint256 needed);
    error NoChangePending();
    error ChangeAlreadyPending();
    error ChangeNotYetAllowed(uint256 allowedAt);
    error ChangeDiffers();
    error ChangeExpired(uint256 expiredAt);
    error SignaturesExpired(uint256 deadline);
    error BadSuccessor();
    error Succeeded(address successor);

    /// k of n attestors have signed `fact`. An attestation, not a validity proof.
    event FactAttested(bytes32 indexed fact, uint256 signatures);
    event ChangeScheduled(uint256 indexed nonce, address[] attestors, uint256 threshold, uint256 allowedAt);
    event SuccessorScheduled(uint256 indexed nonce, address successor, uint256 allowedAt);
    event ChangeCancelled(uint256 indexed nonce);
    event AttestorsChanged(address[] attestors, uint256 threshold);
    event SuccessorChanged(address successor);

    /// Bounds the cost of one call; far above any set that could be run.
    uint256 public constant ATTESTORS_MAX = 64;
    /// Seconds in which a change may be executed once its delay has passed. After that anyone may cancel it.
    uint256 public constant EXECUTION_WINDOW = 30 days;

    bytes32 public constant ATTESTATION_TYPEHASH = keccak256("Attestation(bytes32 fact)");
    bytes32 public constant CHANGE_TYPEHASH =
        keccak256("ChangeAttestors(uint256 nonce,address[] attestors,uint256 threshold,uint256 deadline)");
    bytes32 public constant SUCCESSOR_TYPEHASH =
        keccak256("SetSuccessor(uint256 nonce,address successor,uint256 deadline)");
    bytes32 public constant CANCEL_TYPEHASH = keccak256("CancelChange(uint256 nonce,bytes32 change)");
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("Keel AttestationRegistry");
    bytes32 private constant VERSION_HASH = keccak256("1");
    /// Half the order of secp256k1: of the two signatures (r, s) and (r, n-s), only the lower counts.
    uint256 private constant S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// Whether k of n attestors have signed the fact here. An attestation, not a validity proof.
    mapping(bytes32 => bool) public isAttested;
    /// Decides over facts that are not attested here. Zero: there is none, and attestations are taken.
    IFactRegistry public successor;
    mapping(address => bool) public isAttestor;
    uint256 public threshold;
    /// Seconds between a change's signatures and its effect.
    uint256 public immutable changeDelay;
    /// Number of the next change. Signatures for a change or its cancellation are good for one number only.
    uint256 public changeNonce;
    /// What a cancellation names: `keccak(attestors, threshold)` or `keccak(SUCCESSOR_TYPEHASH, successor)`, ABI-encoded; 0 when
    /// there is none.
    bytes32 public pendingChange;
    /// Unix seconds from which the pending change may be executed.
    uint256 public pendingAllowedAt;
    address[] private _attestors;

    constructor(address[] memory initialAttestors, uint256 initialThreshold, uint256 changeDelaySeconds) {
        if (changeDelaySeconds == 0 || changeDelaySeconds > 365 days) revert BadDelay();
        changeDelay = changeDelaySeconds;
        _checkSet(initialAttestors, initialThreshold);
        _install(initialAttestors, initialThreshold);
    }

    /// Whether k of n attestors have signed the fact, or the successor holds it valid.
    function isValid(bytes32 fact) external view returns (bool) {
        return isAttested[fact] || (address(successor) != address(0) && successor.isValid(fact));
    }

    /// In ascending order.
    function attestors() external view returns (address[] memory) {
        return _attestors;
    }

    /// What an attestor signs for a fact (EIP-712): bound to this chain and this contract.
    function attestationDigest(bytes32 fact) public view returns (bytes32) {
        return _digest(keccak256(abi.encode(ATTESTATION_TYPEHASH, fact)));
    }

    /// What an attestor signs for the change numbered `changeNonce`; good until `deadline` (Unix seconds, inclusive).
    function changeDigest(address[] calldata newAttestors, uint256 newThreshold, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        bytes32 set = keccak256(abi.encodePacked(newAttestors));
        return _digest(keccak256(abi.encode(CHANGE_TYPEHASH, changeNonce, set, newThreshold, deadline)));
    }

    /// The same for a successor.
    function successorDigest(address newSuccessor, uint256 deadline) public view returns (bytes32) {
        return _digest(keccak256(abi.encode(SUCCESSOR_TYPEHASH, changeNonce, newSuccessor, deadline)));
    }

    /// What an attestor signs to cancel the pending change.
    function cancelDigest() public view returns (bytes32) {
        return _digest(keccak256(abi.encode(CANCEL_TYPEHASH, changeNonce, pendingChange)));
    }

    /// Anyone may bring the signatures: 65 bytes each (r, s, v), ascending by signer, at least k, all of them good.
    /// Bringing them again changes nothing.
    function attest(bytes32 fact, bytes[] calldata signatures) external {
        if (address(successor) != address(0)) revert Succeeded(address(successor));
        _checkSignatures(attestationDigest(fact), signatures);
        if (isAttested[fact]) return;
        isAttested[fact] = true;
        emit FactAttested(fact, signatures.length);
    }

    /// Anyone may bring the signatures, until their deadline.
    function scheduleChange(
        address[] calldata newAttestors,
        uint256 newThreshold,
        uint256 deadline,
        bytes[] calldata signatures
    ) external {
        _checkSchedulable(deadline);
        _checkSet(newAttestors, newThreshold);
        _checkSignatures(changeDigest(newAttestors, newThreshold, deadline), signatures);
        _schedule(_changeHash(newAttestors, newThreshold));
        emit ChangeScheduled(changeNonce, newAttestors, newThreshold, pendingAllowedAt);
    }

    /// Anyone may bring the signatures, until their deadline. The successor answers `isValid`; zero takes it back.
    function scheduleSuccessor(address newSuccessor, uint256 deadline, bytes[] calldata signatures) external {
        _checkSchedulable(deadline);
        _checkSuccessor(newSuccessor);
        _checkSignatures(successorDigest(newSuccessor, deadline), signatures);
        _schedule(_successorHash(newSuccessor));
        emit SuccessorScheduled(changeNonce, newSuccessor, pendingAllowedAt);
    }

    /// By k signatures; a change that expired by anybody, without.
    function cancelChange(bytes[] calldata signatures) external {
        if (pendingChange == 0) revert NoChangePending();
        if (block.timestamp <= _expiresAt()) _checkSignatures(cancelDigest(), signatures);
        emit ChangeCancelled(changeNonce);
        _closeChange();
    }

    /// Anyone may execute a change whose delay has passed, for `EXECUTION_WINDOW` seconds.
    function executeChange(address[] calldata newAttestors, uint256 newThreshold) external {
        _checkExecutable(_changeHash(newAttestors, newThreshold));
        _closeChange();
        for (uint256 i = 0; i < _attestors.length; ++i) {
            isAttestor[_attestors[i]] = false;
        }
        _install(newAttestors, newThreshold);
    }

    /// Anyone may execute a change whose delay has passed, for `EXECUTION_WINDOW` seconds.
    function executeSuccessor(address newSuccessor) external {
        _checkExecutable(_successorHash(newSuccessor));
        _closeChange();
        successor = IFactRegistry(newSuccessor);
        emit SuccessorChanged(newSuccessor);
    }

    function _checkSchedulable(uint256 deadline) private view {
        if (pendingChange != 0) revert ChangeAlreadyPending();
        if (block.timestamp > deadline) revert SignaturesExpired(deadline);
    }

    function _schedule(bytes32 change) private {
        pendingChange = change;
        pendingAllowedAt = block.timestamp + changeDelay;
    }

    function _checkExecutable(bytes32 change) private view {
        if (pendingChange == 0) revert NoChangePending();
        if (pendingChange != change) revert ChangeDiffers();
        if (block.timestamp < pendingAllowedAt) revert ChangeNotYetAllowed(pendingAllowedAt);
        if (block.timestamp > _expiresAt()) revert ChangeExpired(_expiresAt());
    }

    /// Unix seconds, the last in which the pending change may be executed.
    function _expiresAt() private view returns (uint256) {
        return pendingAllowedAt + EXECUTION_WINDOW;
    }

    /// A registry that did not answer would refuse every batch, and this one would ask itself for ever.
    function _checkSuccessor(address candidate) private view {
        if (candidate == address(0)) return;
        if (candidate == address(this)) revert BadSuccessor();
        (bool ok, bytes memory answer) = candidate.staticcall(abi.encodeCall(IFactRegistry.isValid, (0)));
        if (!ok || answer.length != 32) revert BadSuccessor();
    }

    /// Ascending, no zero, no duplicate; and k is a majority, so that two sets of k cannot attest opposite facts without
    /// somebody signing both.
    function _checkSet(address[] memory set, uint256 k) private pure {
        if (set.length == 0 || set.length > ATTESTORS_MAX) revert BadSet();
        address previous = address(0);
        for (uint256 i = 0; i < set.length; ++i) {
            if (set[i] <= previous) revert BadSet();
            previous = set[i];
        }
        if (k > set.length || 2 * k <= set.length) revert BadThreshold();
    }

    function _install(address[] memory set, uint256 k) private {
        for (uint256 i = 0; i < set.length; ++i) {
            isAttestor[set[i]] = true;
        }
        _attestors = set;
        threshold = k;
        emit AttestorsChanged(set, k);
    }

    function _closeChange() private {
        pendingChange = 0;
        pendingAllowedAt = 0;
        changeNonce += 1;
    }

    function _checkSignatures(bytes32 digest, bytes[] calldata signatures) private view {
        if (signatures.length < threshold) revert TooFewSignatures(signatures.length, threshold);
        address previous = address(0);
        for (uint256 i = 0; i < signatures.length; ++i) {
            address signer = _recover(digest, signatures[i], i);
            if (!isAttestor[signer]) revert NotAnAttestor(signer);
            // Strictly ascending is what makes each signer count once.
            if (signer <= previous) revert SignersNotAscending(previous, signer);
            previous = signer;
        }
    }

    function _recover(bytes32 digest, bytes calldata signature, uint256 index) private pure returns (address signer) {
        if (signature.length != 65) revert BadSignature(index);
        bytes32 r = bytes32(signature[:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        if (uint256(s) > S_MAX || (v != 27 && v != 28)) revert BadSignature(index);
        signer = ecrecover(digest, v, r, s);
        if (signer == address(0)) revert BadSignature(index);
    }

    function _changeHash(address[] calldata set, uint256 k) private pure returns (bytes32) {
        return keccak256(abi.encode(set, k));
    }

    function _successorHash(address newSuccessor) private pure returns (bytes32) {
        return keccak256(abi.encode(SUCCESSOR_TYPEHASH, newSuccessor));
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        bytes32 domain =
            keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this)));
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
