// kubernetes_schemas.mjs MODULES: reads YAML documents on stdin, checks each against the schema of its kind, and prints them
// as JSON. What is wrong goes to stderr. MODULES is the node_modules directory with the schemas.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const modules = process.argv[2];
const load = (...path) => import(pathToFileURL(join(modules, ...path)));
const { parseAllDocuments } = (await load("yaml", "dist", "index.js")).default;

const documents = parseAllDocuments(readFileSync(0, "utf8")).map((one) => {
  if (one.errors.length) throw one.errors[0];
  return one.toJS();
});
// The schemas allow keys that they do not know, which an API server only warns of: but a key that nothing asked for while
// the document was checked is unknown. Whoever goes through all keys of an object takes any.
const unread = new Map();
function watched(value, path) {
  if (value === null || typeof value !== "object") return value;
  const copy = Array.isArray(value) ? [] : {};
  for (const [key, inner] of Object.entries(value)) {
    copy[key] = watched(inner, `${path}.${key}`);
    if (!Array.isArray(value)) unread.set(`${path}.${key}`, true);
  }
  const forget = (key) => unread.delete(`${path}.${String(key)}`);
  return new Proxy(copy, {
    get: (target, key) => (forget(key), target[key]),
    ownKeys: (target) => (Object.keys(target).forEach(forget), Reflect.ownKeys(target)),
  });
}

for (const one of documents.filter((it) => it.kind !== "Kustomization")) {
  const [group, version] = one.apiVersion.includes("/") ? one.apiVersion.split("/") : ["", one.apiVersion];
  const library = group === "keda.sh" ? "@kubernetes-models/keda" : "kubernetes-models";
  try {
    const model = readFileSync(join(modules, library, group, version, `${one.kind}.js`), "utf8");
    const { validate } = await load(library, "_schemas", /_schemas\/(\w+\.js)/.exec(model)[1]);
    unread.clear();
    const wrong = validate(watched(one, "")) ? [] : validate.errors.map((it) => `${it.instancePath} ${it.keyword} ${JSON.stringify(it.params)}`);
    wrong.push(...[...unread.keys()].map((path) => `${path} is unknown`));
    if (wrong.length) throw new Error(wrong.join("; "));
  } catch (error) {
    process.stderr.write(`${one.kind} ${one.metadata?.name}: ${error.message}\n`);
    process.exitCode = 1;
  }
}
process.stdout.write(JSON.stringify(documents));
