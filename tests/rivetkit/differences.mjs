// Where this engine is meant to do better than the original 2.3.19: test name -> what the original does.
//
// Against the original these tests run as `todo`: they are expected to fail and are counted apart. A row whose
// test passes there is reported as out of date.
export const differences = {};
