// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFactRegistry} from "./interfaces/IFactRegistry.sol";

/// A fact is valid here once k of n attestors have signed it. An attestor is a node that re-executed the batch and
/// arrived at the same root.
///
/// This is an attestation, not a validity proof: k dishonest attestors can make any fact valid.
///
/// There is no administrator. The set of attestors and k change only by k signatures of the current set, and only after
/// `changeDelay` seconds in which everybody can see the change coming.
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

    /// k of n attestors have signed `fact`. An attestation, not a validity proof.
    event FactAttested(bytes32 indexed fact, uint256 signatures);
    event ChangeScheduled(uint256 indexed nonce, address[] attestors, uint256 threshold, uint256 allowedAt);
    event ChangeCancelled(uint256 indexed nonce);
    event AttestorsChanged(address[] attestors, uint256 threshold);

    /// Bounds the cost of one call; far above any set that could be run.
    uint256 public constant ATTESTORS_MAX = 64;

    bytes32 public constant ATTESTATION_TYPEHASH = keccak256("Attestation(bytes32 fact)");
    bytes32 public constant CHANGE_TYPEHASH =
        keccak256("ChangeAttestors(uint256 nonce,address[] attestors,uint256 threshold)");
    bytes32 public constant CANCEL_TYPEHASH = keccak256("CancelChange(uint256 nonce)");
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("Keel AttestationRegistry");
    bytes32 private constant VERSION_HASH = keccak256("1");
    /// Half the order of secp256k1: of the two signatures (r, s) and (r, n-s), only the lower counts.
    uint256 private constant S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// Whether k of n attestors have signed the fact. An attestation, not a validity proof.
    mapping(bytes32 => bool) public isValid;
    mapping(address => bool) public isAttestor;
    uint256 public threshold;
    /// Seconds between a change's signatures and its effect.
    uint256 public immutable changeDelay;
    /// Number of the next change. Signatures for a change or its cancellation are good for one number only.
    uint256 public changeNonce;
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

    /// In ascending order.
    function attestors() external view returns (address[] memory) {
        return _attestors;
    }

    /// What an attestor signs for a fact (EIP-712): bound to this chain and this contract.
    function attestationDigest(bytes32 fact) public view returns (bytes32) {
        return _digest(keccak256(abi.encode(ATTESTATION_TYPEHASH, fact)));
    }

    /// What an attestor signs for the change numbered `changeNonce`.
    function changeDigest(address[] calldata newAttestors, uint256 newThreshold) public view returns (bytes32) {
        bytes32 set = keccak256(abi.encodePacked(newAttestors));
        return _digest(keccak256(abi.encode(CHANGE_TYPEHASH, changeNonce, set, newThreshold)));
    }

    /// What an attestor signs to cancel the pending change.
    function cancelDigest() public view returns (bytes32) {
        return _digest(keccak256(abi.encode(CANCEL_TYPEHASH, changeNonce)));
    }

    /// Anyone may bring the signatures: 65 bytes each (r, s, v), ascending by signer, at least k, all of them good.
    /// Bringing them again changes nothing.
    function attest(bytes32 fact, bytes[] calldata signatures) external {
        _checkSignatures(attestationDigest(fact), signatures);
        if (isValid[fact]) return;
        isValid[fact] = true;
        emit FactAttested(fact, signatures.length);
    }

    function scheduleChange(address[] calldata newAttestors, uint256 newThreshold, bytes[] calldata signatures)
        external
    {
        if (pendingChange != 0) revert ChangeAlreadyPending();
        _checkSet(newAttestors, newThreshold);
        _checkSignatures(changeDigest(newAttestors, newThreshold), signatures);
        pendingChange = _changeHash(newAttestors, newThreshold);
        pendingAllowedAt = block.timestamp + changeDelay;
        emit ChangeScheduled(changeNonce, newAttestors, newThreshold, pendingAllowedAt);
    }

    function cancelChange(bytes[] calldata signatures) external {
        if (pendingChange == 0) revert NoChangePending();
        _checkSignatures(cancelDigest(), signatures);
        emit ChangeCancelled(changeNonce);
        _closeChange();
    }

    /// Anyone may execute a change whose delay has passed.
    function executeChange(address[] calldata newAttestors, uint256 newThreshold) external {
        if (pendingChange == 0) revert NoChangePending();
        if (pendingChange != _changeHash(newAttestors, newThreshold)) revert ChangeDiffers();
        if (block.timestamp < pendingAllowedAt) revert ChangeNotYetAllowed(pendingAllowedAt);
        _closeChange();
        for (uint256 i = 0; i < _attestors.length; ++i) {
            isAttestor[_attestors[i]] = false;
        }
        _install(newAttestors, newThreshold);
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

    function _digest(bytes32 structHash) private view returns (bytes32) {
        bytes32 domain =
            keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this)));
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
