/** Values of attributes with a unit, see otel_flyte/units.py: for humans, and exactly. */
const joules = (value) => (value < 1e3 ? `${figure(value)} J` : value < 3.6e6 ? `${figure(value / 1e3)} kJ` : `${figure(value / 3.6e6)} kWh`);
const UNITS = {
  By: [bytes, "bytes"],
  s: [(value) => (value ? duration(value * 1e6) : "0 s"), "s"],
  "{core}": [(value) => `${figure(value)} core${figure(value) === "1" ? "" : "s"}`, "cores"],
  1: [percent, ""],
  J: [joules, "J"],
  ns: [(value) => moment(value / 1000), "ns"],
};

/** Return a value in units; null where it has none, or none that a number may have. */
const inUnits = (name, value) => {
  const unit = Object.hasOwn(data.units, name) ? UNITS[data.units[name]] : undefined;
  const number = data.units[name] === "ns" ? Number(value) : value;
  return unit && typeof number === "number" && number >= 0 && number < 1e19 ? unit[0](number) : null;
};
const exactly = (name, value) => `${value} ${UNITS[data.units[name]][1]}`.trim();
