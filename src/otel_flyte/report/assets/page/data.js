/* The data is arrays, see report/data.py. Its texts become text of the page by `textContent` only. */
let data = null;
let V = [];
const DEPTH = 0, LABEL = 1, NOTES = 2, ROLE = 3, RESULT = 4, START = 5, TOOK = 6, SHARE = 7, SPAN = 8, ERROR = 9, SUM = 10, WALL = 11;

const app = document.getElementById("app");
/** Whether newer data of a server are drawn as they come. */
const isFollowed = Boolean(app.dataset.source);

const take = (next) => {
  data = next;
  V = data.values;
};
