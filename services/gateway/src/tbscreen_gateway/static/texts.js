// What the page says. Plain language, for who reads a radiograph, not for who runs the server.

export const PROBLEMS = {
  unsupported_media_type: ["This is not a radiograph file", "Send DICOM, PNG, JPEG or TIFF. A PDF or an office document has to be exported as a picture first."],
  file_too_large: ["The file is too large", "Export it in a smaller format, for example as JPEG."],
  image_too_large: ["The picture has too many pixels", "Export it at a lower resolution; 3000 × 3000 pixels are plenty."],
  unreadable_image: ["The picture can not be read", "The file is damaged, cut short, or packed in a way that is not understood. Export it again."],
  empty_upload: ["The file is empty", "It holds no bytes. Export it again."],
  not_a_chest_radiograph: ["This does not look like a frontal chest radiograph", "No answer is given, since it would mean nothing. Check that the right picture was chosen: the whole chest, from the front, upright; not from the side, not a photo or a document."],
  invalid_request: ["The file did not arrive whole", "Send it again."],
  job_not_found: ["The result is no longer kept", "Results are erased after a time, or somebody erased it. Send the radiograph again."],
  queue_full: ["Too many radiographs are waiting", "Wait a little and send it again."],
  server_stopping: ["The server is being restarted", "Send it again in a moment."],
  server_busy: ["Too many radiographs come at once", "Wait a moment and send it again."],
  unauthorized: ["You are not signed in", "Sign in above, then send it again. Whoever runs the server gives out keys."],
  forbidden: ["The key you signed in with may not do this", "Sign out, and in again with a key that may submit and read; ask whoever runs the server."],
  cross_site_request: ["The server does not know its own page", "Tell whoever runs the server: its proxy has to pass on the Host header as the browser sent it."],
  rate_limited: ["Too many requests", "Wait a little and send it again."],
  storage_full: ["The server has no space left", "Tell whoever runs the server; the radiograph was not kept."],
  storage_unavailable: ["The server can not store radiographs now", "Send it again in a while; if it happens again, tell whoever runs the server."],
  broker_unavailable: ["The server can not take radiographs now", "Send it again in a while."],
  worker_lost: ["Reading failed repeatedly", "The reading process stopped each time it tried this file. Tell whoever runs the server."],
  canceled: ["Canceled", "The radiograph was withdrawn before it was read."],
  unreachable: ["The server can not be reached", "Check the network, or whether the server is running."],
  internal_error: ["Something went wrong on the server", "Send it again; if it happens again, tell whoever runs the server."],
};

const AGAIN = new Set(["unauthorized", "invalid_request", "job_not_found", "queue_full", "server_busy", "server_stopping", "rate_limited", "storage_full", "storage_unavailable", "broker_unavailable", "worker_lost", "unreachable", "internal_error"]);

export function explainProblem(code) {
  const [title, advice] = PROBLEMS[code] ?? PROBLEMS.internal_error;
  return { title, advice, mayRetry: AGAIN.has(code) || !(code in PROBLEMS) };
}

const WARNINGS = {
  low_resolution: ["Low resolution", "Small lesions may not be visible. Use the original file rather than a thumbnail or a screenshot."],
  low_contrast: ["Low contrast", "The picture is almost of one grey. Check its exposure or how it was exported."],
  unusual_aspect: ["Unusual shape", "The picture is much longer than it is wide, or wider than long. Check that it shows the whole chest and nothing else."],
  multiple_frames: ["Several pictures in the file", "Only the first one was read."],
  not_a_chest_radiograph: ["May not be a frontal chest radiograph", "It was read all the same. Check that the right picture was chosen: the whole chest, from the front, upright."],
  out_of_distribution: ["Unlike the radiographs the model learned from", "The score is less reliable than usual. Rely on your own reading."],
  inverted: ["Black and white are swapped", "Bone is dark and air bright in this picture. It was read as its negative, as if bone were bright."],
  lateral_view: ["May be a lateral view", "The model was made for frontal views only."],
};

export function explainWarning(code) {
  const [title, advice] = WARNINGS[code] ?? [code.replaceAll("_", " "), "See the documentation of this model."];
  return { title, advice };
}

export function explainAnswer(result) {
  const threshold = Math.round(result.threshold * 100);
  if (result.prediction === "Indeterminate") {
    const test = result.probability >= result.threshold
      ? `It is at or above the threshold of ${threshold}, so a bacteriological test is called for all the same.`
      : "Test if there are symptoms or a risk.";
    return { tone: "unsure", meaning: `The score lies where the model can not tell. Do not rely on it: have a trained reader look. ${test}` };
  }
  if (result.probability >= result.threshold) {
    return { tone: "positive", meaning: `The score is at or above the threshold of ${threshold}: the model found patterns like those of tuberculosis. This is a reason to look closely and to confirm by a bacteriological test, not a diagnosis.` };
  }
  return { tone: "negative", meaning: `The score is below the threshold of ${threshold}: the model found no pattern like those of tuberculosis. Symptoms or a known exposure still need to be followed up.` };
}

export function describeQueue(job) {
  if (job.status === "started") return job.attempts > 1 ? `Reading (attempt ${job.attempts})…` : "Reading…";
  if (!job.queue_position || job.queue_position === 1) return "Waiting to be read: next in line";
  return `Waiting to be read: number ${job.queue_position} in line`;
}
