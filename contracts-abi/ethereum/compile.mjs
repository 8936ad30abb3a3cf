// Compiles Solidity with the pinned compiler and the one set of settings that the committed artifacts were made with.
import { readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = fileURLToPath(new URL(".", import.meta.url));
export const solcVersion = solc.version().replace(/\.Emscripten.*/, "");

// No metadata at all: it would put a hash of comments and paths into the code, and artifacts would change with them.
export const settings = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 1000 },
  viaIR: true,
  metadata: { appendCBOR: false, bytecodeHash: "none" },
};

function solidityFiles(directory) {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return solidityFiles(path);
    return entry.name.endsWith(".sol") ? [path] : [];
  });
}

/** Compiles every .sol under the given directories (relative to this one); warnings are errors. Returns contracts by name. */
export function compile(...directories) {
  const paths = directories.flatMap((directory) => solidityFiles(join(here, directory))).sort();
  const sources = Object.fromEntries(
    paths.map((path) => [relative(here, path), { content: readFileSync(path, "utf8") }]),
  );
  const outputSelection = { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } };
  const input = { language: "Solidity", sources, settings: { ...settings, outputSelection } };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const complaints = (output.errors ?? []).filter(({ severity }) => severity !== "info");
  if (complaints.length > 0) throw new Error(complaints.map((e) => e.formattedMessage).join("\n"));

  const contracts = {};
  for (const [source, byName] of Object.entries(output.contracts)) {
    for (const [contractName, { abi, evm }] of Object.entries(byName)) {
      if (contracts[contractName]) throw new Error(`two contracts are called ${contractName}`);
      contracts[contractName] = {
        contractName,
        source,
        abi,
        bytecode: `0x${evm.bytecode.object}`,
        deployedBytecode: `0x${evm.deployedBytecode.object}`,
        solc: solcVersion,
        settings,
      };
    }
  }
  return contracts;
}
