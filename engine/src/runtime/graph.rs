//! The graph of a job: which chains run on which stream, and where their output goes.
//!
//! A *stage* is a stream (or a merge in front of one) with the chains of its readers. A source's stage runs once per
//! split, every other stage once. A pump's chain runs in the task of the stream that it reads, so stateless pumps need
//! no channel of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use super::error_rows::ERROR_STREAM;
use crate::catalog::{Catalog, PumpEntry, Rowtime, SinkEntry, SourceEntry};
use crate::checkpoint::manifest::Manifest;
use crate::connector::ARRIVAL_TIME;
use crate::error::{Error, Result};
use crate::format::DecodeColumn;
use crate::operator::pair_filter::Side;
use crate::operator::tumbling_window::Emit;
use crate::operator::window_pane::AggregateSpec;
use crate::plan::{OperatorSpec, PlanNode};
use crate::table::Table;
use crate::types::ROWTIME;

/// What runs.
pub struct Graph {
    /// Streams and merges.
    pub stages: Vec<StageSpec>,
    /// The sinks, each read from one stage.
    pub sinks: Vec<SinkEntry>,
    /// By the stage of a source that of its late rows, if somebody reads them.
    pub late: BTreeMap<usize, usize>,
    /// What every chain computes, by its id.
    pub definitions: BTreeMap<String, String>,
}

/// A stage.
pub struct StageSpec {
    /// Name of the stream, or of the merge in front of it.
    pub name: String,
    /// Set for a source.
    pub source: Option<SourceSpec>,
    /// The readers.
    pub chains: Vec<ChainSpec>,
}

/// A source with the columns that somebody reads.
pub struct SourceSpec {
    /// The source.
    pub entry: SourceEntry,
    /// Columns to decode.
    pub columns: Vec<DecodeColumn>,
    /// Metadata columns behind them.
    pub metadata: SchemaRef,
    /// Splits to read.
    pub splits: Vec<String>,
}

/// A chain and its target.
pub struct ChainSpec {
    /// Unique among the chains of the job.
    pub id: String,
    /// The pump on whose behalf it runs; empty for sinks and merges.
    pub pump: String,
    /// Its operators.
    pub operators: Vec<OperatorSpec>,
    /// Where its output goes.
    pub target: Target,
}

/// Where a chain's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The stage at this place.
    Stage(usize),
    /// The sink at this place.
    Sink(usize),
}

/// The start of a chain: the stage it runs on, and its operators so far.
struct Open {
    stage: usize,
    operators: Vec<OperatorSpec>,
}

struct Builder<'a> {
    catalog: &'a Catalog,
    stages: Vec<StageSpec>,
    by_stream: BTreeMap<String, usize>,
    late: BTreeMap<usize, usize>,
    needed: BTreeMap<String, Vec<String>>,
    /// Chains that are a side of a join, by their id.
    sides: BTreeMap<String, Side>,
    splits: &'a BTreeMap<String, Vec<String>>,
}

/// Builds the graph of `pumps` and `sinks`; `splits` are those of every source that they read.
pub fn build(
    catalog: &Catalog,
    pumps: &[&PumpEntry],
    sinks: &[SinkEntry],
    splits: &BTreeMap<String, Vec<String>>,
) -> Result<Graph> {
    let mut builder = Builder {
        catalog,
        stages: Vec::new(),
        by_stream: BTreeMap::new(),
        late: BTreeMap::new(),
        needed: needed_columns(catalog, pumps, sinks),
        sides: BTreeMap::new(),
        splits,
    };
    for pump in pumps {
        let open = builder.open(&pump.plan, &pump.name)?;
        let target = builder.target_of(pump, pumps)?;
        builder.close(open, format!("pump {}", pump.name), &pump.name, Target::Stage(target));
    }
    for (i, sink) in sinks.iter().enumerate() {
        let mut open = builder.open(&sink.plan, "")?;
        if builder.instances(open.stage) > 1 {
            open = builder.merge_point(open, &format!("sink {}", sink.name), "");
        }
        builder.close(open, format!("sink {}", sink.name), "", Target::Sink(i));
    }
    builder.assign_sides();
    let mut definitions = BTreeMap::new();
    for stage in &builder.stages {
        if let Some(source) = &stage.source {
            let entry = &source.entry;
            let fields = source.columns.iter().map(|column| &column.field).chain(source.metadata.fields());
            let columns: Vec<_> = fields.map(|field| format!("{} {}", field.name(), field.data_type())).collect();
            let text = format!(
                "{}, {}, rowtime {:?}, columns {}",
                entry.connector,
                entry.format.name(),
                entry.rowtime,
                columns.join(", ")
            );
            definitions.insert(format!("source {}", stage.name), text);
        }
        for chain in &stage.chains {
            let operators: Vec<_> = chain.operators.iter().map(ToString::to_string).collect();
            let pump = pumps.iter().find(|pump| pump.name == chain.pump && !pump.settings.is_empty());
            let switches = pump.map_or_else(String::new, |pump| format!("; SET {}", pump.settings));
            definitions.insert(chain.id.clone(), format!("from {}: {}{switches}", stage.name, operators.join(" → ")));
        }
    }
    Ok(Graph { stages: builder.stages, sinks: sinks.to_vec(), late: builder.late, definitions })
}

/// The splits of every source that pumps or sinks read: those of the checkpoint, or the source's own choice. A source that
/// nobody reads is not asked, so it need not be there. By name in both cases: operators keep their states under a split's place.
pub async fn splits(
    catalog: &Catalog,
    pumps: &[&PumpEntry],
    sinks: &[SinkEntry],
    manifest: Option<&Manifest>,
    parallelism: usize,
) -> Result<BTreeMap<String, Vec<String>>> {
    let mut splits = BTreeMap::new();
    for name in needed_columns(catalog, pumps, sinks).into_keys() {
        let Some(source) = catalog.streams.get(&name).and_then(|entry| entry.source.as_ref()) else { continue };
        let mut names = match manifest.and_then(|manifest| manifest.sources.get(&name)) {
            Some(saved) => saved.keys().cloned().collect(),
            None => source.source.splits(parallelism).await.map_err(|error| error.about(&format!("source \"{name}\"")))?,
        };
        names.sort_unstable();
        splits.insert(name, names);
    }
    Ok(splits)
}

/// Columns that pumps and sinks read, per stream, also of a source's late rows: the others are not decoded.
fn needed_columns(catalog: &Catalog, pumps: &[&PumpEntry], sinks: &[SinkEntry]) -> BTreeMap<String, Vec<String>> {
    let mut needed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |stream: &str, schema: &SchemaRef| {
        let stream = catalog.source_of_late(stream).unwrap_or(stream);
        needed.entry(stream.to_owned()).or_default().extend(schema.fields().iter().map(|field| field.name().clone()));
    };
    pumps.iter().for_each(|pump| pump.plan.for_each_scan(&mut add));
    sinks.iter().for_each(|sink| sink.plan.for_each_scan(&mut add));
    needed
}

impl SourceSpec {
    /// The metadata that readers are asked for: what is selected, and the arrival time if that is the ROWTIME.
    pub fn metadata_to_read(&self) -> SchemaRef {
        let known = self.entry.source.metadata();
        let arrival =
            known.fields().iter().filter(|field| self.entry.rowtime == Rowtime::Arrival && field.name() == ARRIVAL_TIME);
        let arrival = arrival.filter(|field| self.metadata.index_of(field.name()).is_err()).cloned();
        // What the source does not know is made up for when the rows are decoded.
        let selected = self.metadata.fields().iter().filter(|field| known.index_of(field.name()).is_ok()).cloned();
        Arc::new(Schema::new(selected.chain(arrival).collect::<Vec<_>>()))
    }
}

impl Builder<'_> {
    fn stage_of(&mut self, stream: &str) -> Result<usize> {
        if let Some(stage) = self.by_stream.get(stream) {
            return Ok(*stage);
        }
        let entry = self.catalog.streams.get(stream).ok_or_else(|| Error::internal(format!("there is no stream {stream}")))?;
        let source = entry.source.as_ref().map(|entry| {
            let needed = self.needed.get(stream).cloned().unwrap_or_default();
            let is_rowtime = |name: &str| matches!(&entry.rowtime, Rowtime::Column { name: column, .. } if column == name);
            let is_read = |name: &String| entry.all_columns || needed.contains(name) || is_rowtime(name);
            let columns = entry.columns.iter().filter(|column| is_read(column.field.name()));
            let columns = columns.cloned().collect();
            let metadata = entry.metadata.fields().iter().filter(|field| needed.contains(field.name())).cloned();
            let metadata = Arc::new(Schema::new(metadata.collect::<Vec<_>>()));
            SourceSpec { entry: entry.clone(), columns, metadata, splits: self.splits.get(stream).cloned().unwrap_or_default() }
        });
        let stage = self.add_stage(stream.to_owned(), source);
        self.by_stream.insert(stream.to_owned(), stage);
        if let Some(source) = self.catalog.source_of_late(stream) {
            let source = self.stage_of(source)?;
            self.late.insert(source, stage);
        }
        Ok(stage)
    }

    fn add_stage(&mut self, name: String, source: Option<SourceSpec>) -> usize {
        self.stages.push(StageSpec { name, source, chains: Vec::new() });
        self.stages.len() - 1
    }

    /// Schema of the batches on a stage that reads a stream.
    fn stage_schema(&self, stage: usize) -> Result<SchemaRef> {
        match &self.stages[stage].source {
            Some(source) => Ok(SourceEntry::stream_schema(&source.columns, &source.metadata)),
            None => {
                if let Some((source, _)) = self.late.iter().find(|(_, late)| **late == stage) {
                    return self.stage_schema(*source);
                }
                let name = &self.stages[stage].name;
                let entry =
                    self.catalog.streams.get(name).ok_or_else(|| Error::internal(format!("there is no stream {name}")))?;
                Ok(entry.schema.clone())
            }
        }
    }

    fn instances(&self, stage: usize) -> usize {
        self.stages[stage].source.as_ref().map_or(1, |source| source.splits.len())
    }

    fn open(&mut self, node: &PlanNode, pump: &str) -> Result<Open> {
        match node {
            PlanNode::Scan { stream, schema } => {
                let stage = self.stage_of(stream)?;
                let available = self.stage_schema(stage)?;
                let indices =
                    schema.fields().iter().map(|field| available.index_of(field.name())).collect::<Result<Vec<_>, _>>()?;
                // Columns that nobody NULL-checks may be declared NOT NULL upstream only.
                let fields = indices.iter().map(|index| available.field(*index).clone()).collect::<Vec<_>>();
                let select = OperatorSpec::Select { indices, schema: Arc::new(Schema::new(fields)) };
                Ok(Open { stage, operators: vec![select] })
            }
            PlanNode::Unary { input, operator } => {
                let mut open = self.open(input, pump)?;
                match operator {
                    // The first and the last are those by ROWTIME, whatever split they came from.
                    OperatorSpec::Window { plan, .. } if plan.layout.aggregates.iter().any(AggregateSpec::needs_order) => {
                        open = self.in_time_order(open, &input.schema(), pump)?;
                        open.operators.push(operator.clone());
                    }
                    // Several splits: each aggregates what it has, one stage behind them merges the states.
                    OperatorSpec::Window { plan, text, .. } if self.instances(open.stage) > 1 => {
                        open.operators.push(OperatorSpec::Window { plan: plan.clone(), emit: Emit::States, text: text.clone() });
                        open = self.merge_point(open, &format!("windows of {pump}"), pump);
                        open.operators.push(OperatorSpec::MergeWindows { plan: plan.clone() });
                    }
                    // The panes are tumbling windows, whose states the hopping window puts together.
                    OperatorSpec::Hop { plan, text } => {
                        if plan.panes.layout.aggregates.iter().any(AggregateSpec::needs_order) {
                            open = self.in_time_order(open, &input.schema(), pump)?;
                        }
                        let panes = Box::new(plan.panes.clone());
                        open.operators.push(OperatorSpec::Window { plan: panes, emit: Emit::States, text: text.clone() });
                        if self.instances(open.stage) > 1 {
                            open = self.merge_point(open, &format!("panes of {pump}"), pump);
                        }
                        open.operators.push(operator.clone());
                    }
                    // Sessions of a key need its rows of all splits; sums are then added in the order of ROWTIME.
                    OperatorSpec::Session { plan, .. } => {
                        if self.instances(open.stage) > 1 || plan.layout.aggregates.iter().any(AggregateSpec::needs_order) {
                            open = self.in_time_order(open, &input.schema(), pump)?;
                        }
                        open.operators.push(operator.clone());
                    }
                    // Which of equal rows is first does not depend on which split is faster.
                    OperatorSpec::TopN { .. } if self.instances(open.stage) > 1 => {
                        open = self.in_time_order(open, &input.schema(), pump)?;
                        open.operators.push(operator.clone());
                    }
                    operator if operator.is_sliding() && open.operators.last().is_some_and(OperatorSpec::is_sliding) => {
                        open.operators.push(operator.clone());
                    }
                    OperatorSpec::Stagger { .. }
                    | OperatorSpec::Turns { .. }
                    | OperatorSpec::Distinct { .. }
                    | OperatorSpec::Model { .. }
                    | OperatorSpec::GroupRank { .. }
                    | OperatorSpec::Sort { .. }
                    | OperatorSpec::Sliding { .. }
                    | OperatorSpec::Running { .. } => {
                        open = self.in_time_order(open, &input.schema(), pump)?;
                        open.operators.push(operator.clone());
                    }
                    OperatorSpec::TimeOrder { schema, .. } => open = self.in_time_order(open, schema, pump)?,
                    operator => open.operators.push(operator.clone()),
                }
                Ok(open)
            }
            PlanNode::Join { left, right, plan, text } => {
                let stage = self.add_stage(format!("join of {pump} {}", self.stages.len()), None);
                for (side, input, word) in [(Side::Left, left, "left"), (Side::Right, right, "right")] {
                    let open = self.open(input, pump)?;
                    let id = format!("pump {pump}, {word} side of {}", self.stages[stage].name);
                    self.sides.insert(id.clone(), side);
                    self.close(open, id, pump, Target::Stage(stage));
                }
                // The sides of the inputs are known when all stages are.
                let (plan, text) = (plan.clone(), text.clone());
                Ok(Open { stage, operators: vec![OperatorSpec::WindowJoin { plan, sides: Vec::new(), text }] })
            }
            PlanNode::Union { inputs, schema } => {
                let merge = self.add_stage(format!("union of {pump} {}", self.stages.len()), None);
                for (i, input) in inputs.iter().enumerate() {
                    let open = self.open(input, pump)?;
                    let id = format!("pump {pump}, branch {} of {}", i + 1, self.stages[merge].name);
                    self.close(open, id, pump, Target::Stage(merge));
                }
                let rowtime = schema.index_of(ROWTIME)?;
                Ok(Open { stage: merge, operators: vec![OperatorSpec::Merge { schema: schema.clone(), rowtime }] })
            }
        }
    }

    /// Brings the rows, of `schema`, in the order of ROWTIME.
    fn in_time_order(&mut self, mut open: Open, schema: &SchemaRef, pump: &str) -> Result<Open> {
        let rowtime = schema.index_of(ROWTIME)?;
        if self.instances(open.stage) > 1 {
            open = self.merge_point(open, &format!("rows of {pump} in time order"), pump);
            open.operators.push(OperatorSpec::Merge { schema: schema.clone(), rowtime });
        }
        // Behind a merge it only keeps out what an idle input sends too late.
        open.operators.push(OperatorSpec::TimeOrder { schema: schema.clone(), rowtime });
        Ok(open)
    }

    /// Tells every join which of its inputs are of which side: a stage has an input for every instance of every chain
    /// that ends there, in the order in which a job starts them.
    fn assign_sides(&mut self) {
        let mut inputs: BTreeMap<usize, Vec<Side>> = BTreeMap::new();
        for (place, stage) in self.stages.iter().enumerate() {
            for _ in 0..self.instances(place) {
                for chain in &stage.chains {
                    if let (Target::Stage(target), Some(side)) = (chain.target, self.sides.get(&chain.id)) {
                        inputs.entry(target).or_default().push(*side);
                    }
                }
            }
        }
        for (stage, of_inputs) in inputs {
            for chain in &mut self.stages[stage].chains {
                if let Some(OperatorSpec::WindowJoin { sides, .. }) = chain.operators.first_mut() {
                    sides.clone_from(&of_inputs);
                }
            }
        }
    }

    /// Ends a chain in a new stage and starts one there.
    fn merge_point(&mut self, open: Open, name: &str, pump: &str) -> Open {
        let stage = self.add_stage(format!("{name} {}", self.stages.len()), None);
        let id = format!("{name}, partial {stage}");
        self.close(open, id, pump, Target::Stage(stage));
        Open { stage, operators: Vec::new() }
    }

    fn close(&mut self, open: Open, id: String, pump: &str, target: Target) {
        self.stages[open.stage].chains.push(ChainSpec { id, pump: pump.to_owned(), operators: open.operators, target });
    }

    /// The stage that takes a pump's rows: the stream's own, or a merge in front of it if several pumps fill it.
    fn target_of(&mut self, pump: &PumpEntry, pumps: &[&PumpEntry]) -> Result<usize> {
        let stream = self.stage_of(&pump.target)?;
        if pumps.iter().filter(|other| other.target == pump.target).count() < 2 {
            return Ok(stream);
        }
        let name = format!("merge into {}", pump.target);
        if let Some(stage) = self.by_stream.get(&name) {
            return Ok(*stage);
        }
        let schema = self.stage_schema(stream)?;
        let rowtime = schema.index_of(ROWTIME)?;
        let stage = self.add_stage(name.clone(), None);
        self.by_stream.insert(name.clone(), stage);
        let operators = vec![OperatorSpec::Merge { schema, rowtime }];
        self.stages[stage].chains.push(ChainSpec { id: name, pump: String::new(), operators, target: Target::Stage(stream) });
        Ok(stage)
    }
}

impl Graph {
    /// The reference tables that the job joins with, each once.
    pub fn tables(&self) -> Vec<Arc<Table>> {
        let mut tables: Vec<Arc<Table>> = Vec::new();
        for operator in self.stages.iter().flat_map(|stage| &stage.chains).flat_map(|chain| &chain.operators) {
            let OperatorSpec::LookupJoin { plan, .. } = operator else { continue };
            for table in plan.table.tables() {
                if !tables.iter().any(|known| Arc::ptr_eq(known, table)) {
                    tables.push(table.clone());
                }
            }
        }
        tables
    }

    /// The stage of `error_stream`, if somebody reads it.
    pub fn error_stage(&self) -> Option<usize> {
        self.stages.iter().position(|stage| stage.name == ERROR_STREAM && !stage.chains.is_empty())
    }

    /// The stage that the sink at `place` reads.
    pub fn stage_of_sink(&self, place: usize) -> Option<usize> {
        let feeds = |stage: &StageSpec| stage.chains.iter().any(|chain| chain.target == Target::Sink(place));
        self.stages.iter().position(feeds)
    }

    /// Stages that get rows from `stage`, itself included: their errors cannot go back there.
    pub fn behind(&self, stage: usize) -> Vec<bool> {
        let mut behind = vec![false; self.stages.len()];
        let mut waiting = vec![stage];
        while let Some(stage) = waiting.pop() {
            if !std::mem::replace(&mut behind[stage], true) {
                let targets = self.stages[stage].chains.iter().map(|chain| chain.target);
                waiting.extend(targets.filter_map(|target| if let Target::Stage(stage) = target { Some(stage) } else { None }));
            }
        }
        behind
    }
}
