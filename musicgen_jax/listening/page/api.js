// What the page asks of the server; addresses are relative to the listener's link.

const DELAYS = [1, 2, 4, 8, 15];  // seconds between attempts

export async function session() {
  return (await patient("session")).json();
}

/** The file of a sound: the page's slots come first, then what is given beside them. */
export async function sound(page, slot) {
  return (await patient(`audio/${page}/${slot}`)).arrayBuffer();
}

/** Resolves when the server has the answer on its disk: the number of the next page. */
export async function store(page, answer) {
  const request = {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(answer)};
  return (await (await patient(`answers/${page}`, request)).json()).next;
}

/** A successful response; where the server cannot be reached, or cannot answer now, it is asked again. */
async function patient(path, request = {}) {
  const message = document.getElementById("message");
  for (let attempt = 0; ; attempt += 1) {
    let response = null;
    try {
      response = await fetch(path, request);
    } catch {
      // No connection: below.
    }
    if (response?.ok) {
      message.textContent = "";
      return response;
    }
    if (response && response.status < 500) {
      throw new Error(`${response.status} ${await response.text()}`);
    }
    const delay = DELAYS[Math.min(attempt, DELAYS.length - 1)];
    message.textContent = "The server cannot be reached. Your answers are kept; this page goes on trying.";
    await new Promise((resolve) => setTimeout(resolve, 1000 * delay));
  }
}
