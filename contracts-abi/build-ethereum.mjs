// Writes artifacts/ethereum from ethereum/src. With --check it writes nothing and fails if a committed artifact differs
// from a fresh compilation.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { compile, solcVersion } from "./ethereum/compile.mjs";

const names = ["AppchainCore", "AttestationRegistry", "Bridge", "TestToken"];
const directory = fileURLToPath(new URL("artifacts/ethereum", import.meta.url));
const check = process.argv.includes("--check");

const contracts = compile("src");
const fresh = new Map(names.map((name) => [`${name}.json`, `${JSON.stringify(contracts[name], null, 2)}\n`]));

function committed(file) {
  try {
    return readFileSync(join(directory, file), "utf8");
  } catch {
    return null;
  }
}

mkdirSync(directory, { recursive: true });
const stale = [...fresh].filter(([file, text]) => committed(file) !== text).map(([file]) => file);
const foreign = readdirSync(directory).filter((file) => !fresh.has(file));

if (check) {
  for (const file of stale) console.error(`artifacts/ethereum/${file} differs from a fresh compilation of its source`);
  for (const file of foreign) console.error(`artifacts/ethereum/${file} has no source`);
  if (stale.length + foreign.length > 0) process.exit(1);
  console.log(`${names.length} Ethereum artifacts match their sources (solc ${solcVersion})`);
} else {
  for (const file of stale) writeFileSync(join(directory, file), fresh.get(file));
  console.log(`${names.length} Ethereum artifacts, ${stale.length} rewritten (solc ${solcVersion})`);
}
