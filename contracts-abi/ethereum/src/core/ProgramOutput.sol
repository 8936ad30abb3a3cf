// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The words of a batch's program output: where they stand, what they hash to, what they must satisfy.
///
/// header (10 words): previous root, new root, previous block number, new block number, previous block hash,
///   new block hash, program hash (0 here), config hash, blob flag, full-output flag
/// blob section, only when the blob flag is 1: z, n, 2n commitment words (low, high), 2n evaluation words (low, high)
/// messages to L1: number of words, then [from, to, payload length, payload...] each
/// messages to L2: number of words, then [from, to, nonce, selector, payload length, payload...] each
library ProgramOutput {
    uint256 internal constant FIELD_PRIME = 0x800000000000011000000000000000000000000000000000000000000000001;

    uint256 internal constant PREV_ROOT = 0;
    uint256 internal constant NEW_ROOT = 1;
    uint256 internal constant PREV_BLOCK_NUMBER = 2;
    uint256 internal constant NEW_BLOCK_NUMBER = 3;
    uint256 internal constant PREV_BLOCK_HASH = 4;
    uint256 internal constant NEW_BLOCK_HASH = 5;
    uint256 internal constant OS_PROGRAM_HASH = 6;
    uint256 internal constant CONFIG_HASH = 7;
    uint256 internal constant USE_KZG_DA = 8;
    uint256 internal constant FULL_OUTPUT = 9;
    uint256 internal constant HEADER_WORDS = 10;

    /// 'KEEL_DATA' as a Starknet short string.
    uint256 private constant DATA_TAG = 0x4b45454c5f44415441;

    /// Words of a message before its payload; the last of them is the payload's length.
    uint256 internal constant MESSAGE_TO_L1_PREFIX_WORDS = 3;
    uint256 internal constant MESSAGE_TO_L2_PREFIX_WORDS = 5;
    /// Upper bound on any length word, so that sums of lengths cannot wrap.
    uint256 internal constant LENGTH_LIMIT = 2 ** 30;

    address private constant POINT_EVALUATION = address(0x0A);
    /// keccak of what the precompile answers: 4096 as 32 bytes, then the BLS12-381 scalar modulus.
    bytes32 private constant POINT_EVALUATION_ANSWER_HASH =
        keccak256(abi.encode(uint256(4096), 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001));

    /// Each word must be a field element.
    function checkWords(uint256[] calldata words, string memory reason) internal pure {
        bool inRange = true;
        for (uint256 i = 0; i < words.length; ++i) {
            if (words[i] >= FIELD_PRIME) inRange = false;
        }
        require(inRange, reason);
    }

    function hashWords(uint256[] calldata words) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(words));
    }

    /// Fact of a transition whose data this contract has seen and hashed: `keccak('KEEL_DATA', keccak(output), keccak(data))`.
    /// Three words, the first a name: neither `factWithDataElsewhere` nor the hash of a program output can be the same.
    function factWithData(uint256[] calldata output, uint256[] calldata data) internal pure returns (bytes32) {
        return keccak256(abi.encode(DATA_TAG, hashWords(output), hashWords(data)));
    }

    /// Upstream's fact of a transition whose data the caller only names. Root of the two-leaf fact tree: the program output
    /// on the left, the data (given by hash and length in words) on the right. An inner node is its hash plus one, which
    /// keeps it apart from a leaf. Attestors of a Keel chain never sign one, since nobody could read the data.
    function factWithDataElsewhere(uint256[] calldata output, uint256 dataHash, uint256 dataWords)
        internal
        pure
        returns (bytes32)
    {
        bytes32 node = keccak256(abi.encode(hashWords(output), output.length, dataHash, output.length + dataWords));
        unchecked {
            return bytes32(uint256(node) + 1);
        }
    }

    /// Each blob of the transaction against the commitment and evaluation the program output claims for it. There is no other:
    /// readers take all blobs of the transaction for data (UNEXPECTED_BLOB).
    function checkBlobs(uint256[] calldata output, bytes[] calldata kzgProofs) internal view {
        uint256[] calldata section = output[HEADER_WORDS:];
        require(section.length >= 2, "KZG_SEGMENT_TOO_SHORT");
        uint256 blobs = section[1];
        require(kzgProofs.length == blobs, "INVALID_NUMBER_OF_KZG_PROOFS");
        require(section.length >= 2 + 4 * blobs, "KZG_SEGMENT_TOO_SHORT");
        for (uint256 i = 0; i < blobs; ++i) {
            _checkBlob(i, section[0], section[2 + 2 * i:], section[2 + 2 * blobs + 2 * i:], kzgProofs[i]);
        }
        require(blobhash(blobs) == 0, "UNEXPECTED_BLOB");
    }

    function _checkBlob(
        uint256 index,
        uint256 z,
        uint256[] calldata commitment,
        uint256[] calldata evaluation,
        bytes calldata proof
    ) private view {
        bytes32 versionedHash = blobhash(index);
        require(versionedHash != 0, "INVALID_BLOB_INDEX");
        require(versionedHash[0] == 0x01, "UNEXPECTED_BLOB_HASH_VERSION");
        require(
            commitment[0] <= type(uint192).max && commitment[1] <= type(uint192).max, "INVALID_KZG_COMMITMENT"
        );
        require(evaluation[0] <= type(uint128).max && evaluation[1] <= type(uint128).max, "INVALID_Y_VALUE");
        require(proof.length == 48, "INVALID_KZG_PROOF_SIZE");

        bytes memory input = abi.encodePacked(
            versionedHash,
            z,
            uint128(evaluation[1]),
            uint128(evaluation[0]),
            uint192(commitment[1]),
            uint192(commitment[0]),
            proof
        );
        (bool ok, bytes memory answer) = POINT_EVALUATION.staticcall(input);
        require(ok, "POINT_EVALUATION_PRECOMPILE_CALL_FAILED");
        require(
            keccak256(answer) == POINT_EVALUATION_ANSWER_HASH, "UNEXPECTED_POINT_EVALUATION_PRECOMPILE_OUTPUT"
        );
    }

    /// Index of the word that opens the first message segment.
    function messagesAt(uint256[] calldata output) internal pure returns (uint256) {
        return output[USE_KZG_DA] == 0 ? HEADER_WORDS : HEADER_WORDS + 2 + 4 * output[HEADER_WORDS + 1];
    }

    /// A segment whose length word stands at `offset`: the index of its first message, and the index after its last.
    function segment(uint256[] calldata output, uint256 offset) internal pure returns (uint256 first, uint256 end) {
        require(offset < output.length, "STARKNET_OUTPUT_TOO_SHORT");
        require(output[offset] < LENGTH_LIMIT, "INVALID_MESSAGE_SEGMENT_SIZE");
        first = offset + 1;
        end = first + output[offset];
    }

    /// The message that starts at `start`, as the words its hash covers, and the index after it.
    function message(uint256[] calldata output, uint256 start, uint256 prefixWords)
        internal
        pure
        returns (uint256[] calldata words, uint256 end)
    {
        uint256 payloadAt = start + prefixWords;
        require(payloadAt <= output.length, "MESSAGE_TOO_SHORT");
        uint256 payloadWords = output[payloadAt - 1];
        require(payloadWords < LENGTH_LIMIT, "INVALID_PAYLOAD_LENGTH");
        end = payloadAt + payloadWords;
        require(end <= output.length, "TRUNCATED_MESSAGE_PAYLOAD");
        words = output[start:end];
    }
}
