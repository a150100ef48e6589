// What the page and musicstar_ext/evaluation/survey/protocol.py must agree on, to the letter.

// The order in which a rater meets things: sorted by SHA-256 of "survey/rater/...". As good as random, different for
// each rater and piece, and anyone who knows the ids can reconstruct it.
const shuffled = (ids, ...context) => {
  const keys = new Map(ids.map((id) => [id, sha256([...context, id].join("/"))]));
  return [...ids].sort((a, b) => (keys.get(a) < keys.get(b) ? -1 : 1));
};

// JSON with sorted keys and no white space: one text for one content.
const canonical = (value) => {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    return `{${Object.keys(value)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`)
      .join(",")}}`;
  }
  return JSON.stringify(value);
};

const sealed = (result) => ({ ...result, checksum: sha256(canonical(result)) });
