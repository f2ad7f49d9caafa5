import { messageOf, RefusalError } from "../base/errors.js";
import type { Call } from "./call.js";
import type { Progress } from "./types.js";

/**
 * Docker's progress stream: one JSON message a line, each flushed. The headers go out with the first message, so that what
 * fails at once is an ordinary error with its status; later failures are {"errorDetail": …, "error": …} in the stream.
 */
export async function streamProgress(call: Call, work: (progress: Progress) => Promise<unknown>): Promise<unknown> {
  let opened = false;
  const progress: Progress = (message) => {
    if (!opened) {
      opened = true;
      call.openStream("application/json");
    }
    if (!call.response.destroyed) call.response.write(`${JSON.stringify(message)}\r\n`);
  };
  try {
    await work(progress);
  } catch (error) {
    if (!opened) throw error;
    const message = messageOf(error);
    if (!(error instanceof RefusalError))
      call.context.options.log?.error("request failed", { url: call.request.url, error: message });
    progress({ errorDetail: { message }, error: message });
  }
  if (!opened) {
    call.openStream("application/json");
  }
  call.response.end();
  return call.reply;
}
