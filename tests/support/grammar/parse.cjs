// Reads a JSON list of [language, query] from stdin; writes a JSON list of the error in each, null if there is none.
const { readFileSync } = require("node:fs");

const parsers = {
  logql: require("@grafana/lezer-logql").parser,
  traceql: require("@grafana/lezer-traceql").parser,
};

function problem([language, query]) {
  const cursor = parsers[language].parse(query).cursor();
  do {
    if (cursor.type.isError) return `not ${language} from here on: ${query.slice(cursor.from) || "its end"}`;
  } while (cursor.next());
  return null;
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(problem)));
