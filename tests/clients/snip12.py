"""The vectors of the signed messages against starknet.py, in both directions. Run by scripts/test ("clients: starknet.py").

Checked: the hashes and signatures that starknet.js and Keel's own client made, and that the committed file of starknet.py is what it
makes of the same messages. `--write` makes that file anew.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from starknet_py.hash.utils import message_signature, private_to_stark_key, verify_message_signature
from starknet_py.utils.typed_data import TypedData

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
OWN = CORPUS / "snip12-py.json"


def load(name):
    return json.loads((CORPUS / name).read_text())


def message_hash(vector):
    data = TypedData.from_dict(vector["typedData"])
    return data.message_hash(int(vector["typedData"]["message"]["account"], 16))


def made_by_starknet_py(corpus):
    """The messages of the starknet.js vectors, hashed and signed here."""
    private_key = int(corpus["privateKey"], 16)
    vectors = []
    for vector in corpus["vectors"]:
        hashed = message_hash(vector)
        signature = [hex(part) for part in message_signature(hashed, private_key)]
        vectors.append(
            {"name": vector["name"], "type": vector["type"], "messageHash": hex(hashed), "signature": signature}
        )
    document = {
        "source": f"starknet.py {version('starknet-py')}",
        "publicKey": hex(private_to_stark_key(private_key)),
        "vectors": vectors,
    }
    return json.dumps(document, indent=2) + "\n"


def holds(corpus, vector):
    hashed = message_hash(vector)
    signature = [int(part, 16) for part in vector["signature"]]
    return hashed == int(vector["messageHash"], 16) and verify_message_signature(
        hashed, signature, int(corpus["publicKey"], 16)
    )


def main():
    made = made_by_starknet_py(load("snip12.json"))
    if sys.argv[1:] == ["--write"]:
        OWN.write_text(made)
        print(f"wrote {OWN}")
        return 0
    failed = [] if OWN.read_text() == made else [f"{OWN.name} is not what starknet.py makes of the messages"]
    passed = 1 - len(failed)
    messages = [vector["name"] for vector in load("snip12.json")["vectors"]]
    for name in ("snip12.json", "snip12-keel.json"):
        corpus = load(name)
        if [vector["name"] for vector in corpus["vectors"]] != messages:
            failed.append(f"{name}: not the messages of snip12.json")
        for vector in corpus["vectors"]:
            if holds(corpus, vector):
                passed += 1
            else:
                failed.append(f"{name}: {vector['name']}: starknet.py has another hash, or the signature does not hold")
    print("\n".join(failed))
    print(f"# pass {passed}\n# fail {len(failed)}")
    return 1 if failed else 0


sys.exit(main())
