// Requests that change something.

/** Sends a request and returns the answer: whether it was understood, and what was said. */
export async function post(path, request) {
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request),
    });
    if (answer.status === 401) return failed("Open the link with the token again.");
    return { ok: answer.ok, told: await answer.json() };
  } catch (error) {
    return failed(`The request failed: ${error.message}`);
  }
}

const failed = (problem) => ({ ok: false, told: { problem } });
