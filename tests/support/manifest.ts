// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

/**
 * Says what is wrong with a Kubernetes manifest, by Kubernetes' own schemas.
 *
 * @module
 */

/** What a schema was compiled to. */
interface Validate {
  (data: unknown): boolean;
  errors?: { instancePath: string; keyword: string; params: unknown }[] | null;
}

/** The schemas of the kinds that are used here. */
const SCHEMAS: Readonly<Record<string, () => Promise<{ validate: Validate }>>> =
  {
    "apps/v1 Deployment": () =>
      import("npm:/kubernetes-models@5.1.0/_schemas/IoK8sApiAppsV1Deployment"),
    "policy/v1 PodDisruptionBudget": () =>
      import(
        "npm:/kubernetes-models@5.1.0/_schemas/IoK8sApiPolicyV1PodDisruptionBudget"
      ),
    "networking.k8s.io/v1 NetworkPolicy": () =>
      import(
        "npm:/kubernetes-models@5.1.0/_schemas/IoK8sApiNetworkingV1NetworkPolicy"
      ),
    "v1 Service": () =>
      import("npm:/kubernetes-models@5.1.0/_schemas/IoK8sApiCoreV1Service"),
  };

/**
 * Compares a manifest with the schema of its kind, in which every field that is
 * not named is unknown.
 *
 * @param manifest The manifest, parsed.
 * @returns A line for each fault, with the path of the field.
 */
export async function faultsOf(manifest: unknown): Promise<string[]> {
  const { apiVersion, kind } = manifest as Record<string, unknown>;
  const load = SCHEMAS[`${apiVersion} ${kind}`];
  if (load === undefined) return [`no schema for ${apiVersion} ${kind}`];
  const { validate } = await load();
  const seen = new Set<string>();
  const faults = validate(watched(manifest, "", seen))
    ? []
    : (validate.errors ?? []).map(({ instancePath, keyword, params }) =>
      `${instancePath}: ${keyword} ${JSON.stringify(params)}`
    );
  const unknown = pathsOf(manifest, "").filter((path) => !seen.has(path));
  return [...faults, ...unknown.map((path) => `${path}: unknown field`)];
}

/**
 * The same value, which notes each field that is read. The schemas allow what
 * they do not name, as Kubernetes once did; but nobody reads it.
 */
function watched(value: unknown, path: string, seen: Set<string>): unknown {
  if (typeof value !== "object" || value === null) return value;
  return new Proxy(value, {
    get(target, name) {
      const inner = Reflect.get(target, name);
      if (typeof name === "symbol" || !Object.hasOwn(target, name)) {
        return inner;
      }
      seen.add(`${path}/${name}`);
      return watched(inner, `${path}/${name}`, seen);
    },
  });
}

/** The paths of all fields, however deep. */
function pathsOf(value: unknown, path: string): string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => [
    `${path}/${name}`,
    ...pathsOf(inner, `${path}/${name}`),
  ]);
}
