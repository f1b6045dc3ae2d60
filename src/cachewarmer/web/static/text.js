// What numbers and names look like. Names may hold anything: what can't be seen is written as an escape.

const HIDDEN = /[\p{C}\p{Zl}\p{Zp}]/gu;

export function shown(text) {
  return String(text ?? "").replace(HIDDEN, (char) => {
    const code = char.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`; // a byte that is not UTF-8
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

const whole = new Intl.NumberFormat("en");
export const count = (value) => whole.format(Math.round(value));

export function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let at = 0;
  while (bytes >= 999.5 && at < units.length - 1) { bytes /= 1000; at += 1; }
  return `${at && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[at]}`;
}

export const binary = (bytes) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (bytes >= 1024 && at < units.length - 1) { bytes /= 1024; at += 1; }
  return `${Math.round(bytes)} ${units[at]}`;
};

export const rate = (bytes) => `${size(bytes)}/s`;

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  seconds = Math.round(seconds);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} days`;
}

export const millis = (value) => (!value ? "–" : value < 0.05 ? "< 0.1 ms" : `${value < 10 ? value.toFixed(1) : count(value)} ms`);

const STATES = { completed_with_errors: "completed with errors" };
export const stateName = (state) => STATES[state] ?? state;

const FINAL = new Set(["completed", "completed_with_errors", "failed", "cancelled"]);
export const over = (job) => FINAL.has(job.state);

export function share(job) {
  if (job.state === "completed") return 1;
  const whole = job.scanned_bytes || job.scanned_files;
  const done = job.scanned_bytes ? job.bytes : job.files;
  return whole ? Math.min(over(job) ? 1 : 0.999, done / whole) : 0;
}

export function left(job) {
  if (over(job) || job.state === "paused" || !job.scan_finished || !job.bytes_per_second) return NaN;
  const seconds = Math.max(0, job.scanned_bytes - job.bytes) / job.bytes_per_second;
  return seconds < 100 * 86400 ? seconds : NaN; // beyond that it isn't an estimate
}
