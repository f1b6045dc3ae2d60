// Talks to the server: calls with the token, and events that survive an outage.

let token = sessionStorage.getItem("token") ?? "";

export class Refused extends Error {
  constructor(status, said) { super(said); this.status = status; }
}

const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});

export async function call(path, { method = "GET", body } = {}) {
  const said = body === undefined ? {} : { body: JSON.stringify(body) };
  const type = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await fetch(`api/v1${path}`, { method, headers: { ...headers(), ...type }, cache: "no-store", ...said });
  const content = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) throw new Refused(answer.status, content.error ?? answer.statusText);
  return content;
}

export async function signIn(given) {
  if (given !== undefined) token = given;
  const session = await call("/session");
  if (session.token) token = session.token; // drawn by the server for pages of its own, at each start
  else sessionStorage.setItem("token", token);
  return session;
}

// Calls `take(kind, content)` for each event until `stop.signal` is aborted. Throws when the stream ends.
export async function listen(job, take, signal) {
  const answer = await fetch(`api/v1/events${job ? `?job=${encodeURIComponent(job)}` : ""}`, { headers: headers(), signal, cache: "no-store" });
  if (!answer.ok) throw new Refused(answer.status, (await answer.json().catch(() => ({}))).error ?? answer.statusText);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the server ended the stream");
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const [kind, content] = event.split("\n");
      take(kind.slice(7), JSON.parse(content.slice(6)));
    }
  }
}
