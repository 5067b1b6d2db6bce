// RivetKit asks this package for an engine to start. The real one ships the original engine; here only the
// engine under test may answer, so a run that falls back to anything else fails loudly.
exports.getEnginePath = () => {
	const path = process.env.RIVET_ENGINE_BINARY;
	if (!path) throw new Error("no engine in these tests but the one named by RIVET_ENGINE_BINARY");
	return path;
};
